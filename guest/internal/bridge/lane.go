package bridge

import (
	"encoding/binary"
	"io"
	"net"
	"sync"
	"syscall"
	"time"
)

const (
	// lingering is how long what the server sent before it closed may take to be read.
	lingering = 2 * time.Second
	// taken is how much is read before the server is told that it may send more.
	taken = Window / 8
)

// lane is one connection. What the server sends waits in a queue, never longer than the window; what the guest sends
// is read only where the server has room for it.
type lane struct {
	mux  *mux
	id   uint32
	lock sync.Mutex
	// changed tells of everything below
	changed *sync.Cond
	queue   []chunk
	owed    int
	room    int
	ended   bool
	closed  bool
	conn    *net.UnixConn
}

func newLane(m *mux, id uint32) *lane {
	l := &lane{mux: m, id: id, room: Window}
	l.changed = sync.NewCond(&l.lock)
	return l
}

// took is the arrival of a frame.
func (l *lane) took(kind byte, payload chunk) error {
	l.lock.Lock()
	defer l.lock.Unlock()
	defer l.changed.Broadcast()
	switch {
	case l.closed:
		payload.free()
		return nil
	case kind == data && !l.ended && len(payload.data) > 0 && l.owed+len(payload.data) <= Window:
		l.enqueue(payload)
		return nil
	case kind == window && len(payload.data) == 4:
		count := binary.BigEndian.Uint32(payload.data)
		payload.free()
		if count > uint32(Window-l.room) {
			return ErrProtocol
		}
		l.room += int(count)
		return nil
	case kind == ending && !l.ended:
		payload.free()
		l.ended = true
		return nil
	case kind == closing:
		payload.free()
		l.leave()
		return nil
	}
	return ErrProtocol
}

// enqueue, with the lock held, puts small pieces together, so that the queue is no larger than what is in it.
func (l *lane) enqueue(payload chunk) {
	l.owed += len(payload.data)
	if count := len(l.queue); count > 0 && len(l.queue[count-1].data)+len(payload.data) <= largest {
		last := &l.queue[count-1]
		last.data = append(last.data, payload.data...)
		payload.free()
		return
	}
	payload.data = payload.data[:len(payload.data):largest]
	l.queue = append(l.queue, payload)
}

func (l *lane) close() {
	l.lock.Lock()
	defer l.lock.Unlock()
	l.leave()
	l.changed.Broadcast()
}

// leave, with the lock held, ends what waits for the guest; what is queued gets a moment.
func (l *lane) leave() {
	l.closed, l.ended = true, true
	if l.conn != nil {
		_ = l.conn.SetReadDeadline(time.Unix(1, 0))
		_ = l.conn.SetWriteDeadline(time.Now().Add(lingering))
	}
}

// run carries both directions until both have ended or either broke, and says that the lane is closed.
func (l *lane) run() {
	if conn, err := l.mux.dial(); err == nil {
		l.lock.Lock()
		l.conn = conn
		if l.closed {
			l.leave()
		}
		l.lock.Unlock()
		var both sync.WaitGroup
		both.Go(func() { l.carry(l.inward) })
		both.Go(func() { l.carry(l.outward) })
		both.Wait()
		_ = conn.Close()
	}
	l.mux.forget(l.id)
	l.lock.Lock()
	for _, left := range l.queue {
		left.free()
	}
	l.queue = nil
	l.lock.Unlock()
	l.mux.tell(closing, l.id)
}

// carry ends the other direction as well when one breaks.
func (l *lane) carry(direction func() error) {
	if direction() != nil {
		l.close()
	}
}

func (l *lane) inward() error {
	read := 0
	for {
		next, ok := l.next()
		if !ok {
			return l.conn.CloseWrite()
		}
		_, err := l.conn.Write(next.data)
		read += len(next.data)
		next.free()
		if err != nil {
			return err
		}
		if read >= taken {
			l.lock.Lock()
			l.owed -= read
			l.lock.Unlock()
			l.mux.tell(window, l.id, uint32(read))
			read = 0
		}
	}
}

// next waits for what the server sends; false is its end.
func (l *lane) next() (chunk, bool) {
	l.lock.Lock()
	defer l.lock.Unlock()
	for len(l.queue) == 0 && !l.ended {
		l.changed.Wait()
	}
	if len(l.queue) == 0 {
		return chunk{}, false
	}
	first := l.queue[0]
	l.queue[0] = chunk{}
	l.queue = l.queue[1:]
	return first, true
}

func (l *lane) outward() error {
	raw, err := l.conn.SyscallConn()
	if err != nil {
		return err
	}
	for {
		room := l.wait()
		if room == 0 {
			return io.ErrClosedPipe
		}
		buffer, count, err := readable(raw, min(room, largest))
		if count > 0 {
			l.lock.Lock()
			l.room -= count
			l.lock.Unlock()
			err = l.mux.send(data, l.id, buffer, count)
		}
		if buffer != nil {
			buffers.Put(buffer)
		}
		if err != nil {
			return err
		}
		if count == 0 {
			l.mux.tell(ending, l.id)
			return nil
		}
	}
}

// wait is for room at the server's; 0 when the lane is closed.
func (l *lane) wait() int {
	l.lock.Lock()
	defer l.lock.Unlock()
	for l.room == 0 && !l.closed {
		l.changed.Wait()
	}
	if l.closed {
		return 0
	}
	return l.room
}

// readable takes a buffer only when there is something to read, so that idle lanes hold none.
func readable(raw syscall.RawConn, most int) (buffer *[headSize + largest]byte, count int, err error) {
	failed := raw.Read(func(fd uintptr) bool {
		buffer = buffers.Get().(*[headSize + largest]byte)
		count, err = syscall.Read(int(fd), buffer[headSize:headSize+most])
		for err == syscall.EINTR {
			count, err = syscall.Read(int(fd), buffer[headSize:headSize+most])
		}
		if err == syscall.EAGAIN {
			buffers.Put(buffer)
			buffer = nil
			return false
		}
		return true
	})
	if err == nil {
		err = failed
	}
	return buffer, max(count, 0), err
}
