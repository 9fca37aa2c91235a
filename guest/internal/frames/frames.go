// Package frames is the wire of upgraded streams: one byte of kind, four of length, the payload.
package frames

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"errors"
	"io"
	"net"
	"sync"
	"time"
)

// Max is the longest payload.
const Max = 65536

// The kinds of frames.
const (
	Input   = 'i'
	Output  = 'o'
	Stderr  = 'e'
	Control = 'c'
	End     = 'x'
)

// ErrProtocol is what garbage on the wire is; the receiver closes.
var ErrProtocol = errors.New("not a frame")

// Frame is one message. Its payload is valid until the next call of Next.
type Frame struct {
	Kind    byte
	Payload []byte
}

// Reader takes frames off a stream.
type Reader struct {
	source *bufio.Reader
	buffer []byte
}

// NewReader reads frames from source.
func NewReader(source *bufio.Reader) *Reader { return &Reader{source: source} }

// Next is the next frame; io.EOF at a clean end, ErrProtocol on garbage.
func (r *Reader) Next() (Frame, error) { return r.Within(Max) }

// Within is Next where the receiver takes another length than Max.
func (r *Reader) Within(most uint32) (Frame, error) {
	var head [5]byte
	if _, err := io.ReadFull(r.source, head[:]); err != nil {
		return Frame{}, err
	}
	length := binary.BigEndian.Uint32(head[1:])
	if !known(head[0]) || length > most || (head[0] == End && length != 0) {
		return Frame{}, ErrProtocol
	}
	buffer := r.buffer
	if int(length) > cap(buffer) {
		buffer = make([]byte, max(int(length), 512))
	}
	if cap(buffer) <= Max {
		r.buffer = buffer
	}
	payload := buffer[:length]
	if _, err := io.ReadFull(r.source, payload); err != nil {
		return Frame{}, io.ErrUnexpectedEOF
	}
	return Frame{Kind: head[0], Payload: payload}, nil
}

func known(kind byte) bool {
	return kind == Input || kind == Output || kind == Stderr || kind == Control || kind == End
}

// Writer puts whole frames on a connection, from any number of goroutines.
type Writer struct {
	lock sync.Mutex
	conn net.Conn
	head [5]byte
}

// NewWriter writes frames to conn.
func NewWriter(conn net.Conn) *Writer { return &Writer{conn: conn} }

// Send writes one frame whose payload is the parts one after another, at most Max together.
func (w *Writer) Send(kind byte, parts ...[]byte) error {
	length := 0
	for _, part := range parts {
		length += len(part)
	}
	if length > Max {
		return ErrProtocol
	}
	w.lock.Lock()
	defer w.lock.Unlock()
	w.head[0] = kind
	binary.BigEndian.PutUint32(w.head[1:], uint32(length))
	buffers := make(net.Buffers, 0, 3)
	buffers = append(buffers, w.head[:])
	buffers = append(buffers, parts...)
	_, err := buffers.WriteTo(w.conn)
	return err
}

// SendAll writes data as as many frames as it needs.
func (w *Writer) SendAll(kind byte, data []byte) error {
	for len(data) > 0 {
		part := data[:min(len(data), Max)]
		data = data[len(part):]
		if err := w.Send(kind, part); err != nil {
			return err
		}
	}
	return nil
}

// Control writes a `c` frame.
func (w *Writer) Control(message any) error {
	payload, err := json.Marshal(message)
	if err != nil {
		return err
	}
	return w.Send(Control, payload)
}

// Abort makes every write, the present one too, fail soon.
func (w *Writer) Abort() { _ = w.conn.SetWriteDeadline(time.Now()) }
