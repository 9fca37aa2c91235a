package http1

import (
	"context"
	"time"

	"rexec-guest/internal/frames"
)

// watching reads ahead on the connection so that the other side's leaving is seen while an answer is prepared.
type watching struct {
	cancel context.CancelFunc
	ended  chan struct{}
}

// Watch is a context that ends when the other side goes away before the answer; the body must have been read.
func (x *Exchange) Watch() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	x.watching = &watching{cancel: cancel, ended: make(chan struct{})}
	go func(w *watching) {
		defer close(w.ended)
		if _, err := x.reader.Peek(1); err != nil {
			w.cancel()
		}
	}(x.watching)
	return ctx
}

func (x *Exchange) stopWatching() {
	w := x.watching
	if w == nil {
		return
	}
	x.watching = nil
	_ = x.conn.SetReadDeadline(time.Unix(1, 0))
	<-w.ended
	_ = x.conn.SetReadDeadline(time.Time{})
	w.cancel()
}

// Left tells whether the other side has gone away, though there may be more of the body to read.
func (x *Exchange) Left() bool { return frames.Left(x.conn) }
