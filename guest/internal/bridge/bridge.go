// Package bridge carries many connections to the guest over one pair of pipes: those of an engine's exec, where engine
// and server share no file system. docs/guest-protocol.md §1.1 is what it speaks.
package bridge

import (
	"bufio"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
)

const (
	opening = 'o'
	data    = 'd'
	window  = 'w'
	ending  = 'e'
	closing = 'c'

	headSize = 9
	largest  = 32 << 10
	// Window is how much may be under way on one lane, in one direction, and not taken yet.
	Window    = 512 << 10
	mostLanes = 640
)

// ErrProtocol is what the server must not send.
var ErrProtocol = errors.New("a frame that does not belong here")

// Dial connects a lane to the guest.
type Dial func() (*net.UnixConn, error)

var buffers = sync.Pool{New: func() any { return new([headSize + largest]byte) }}

// mux is one bridge: frames come in one after another, lanes send theirs in turns.
type mux struct {
	dial  Dial
	write sync.Mutex
	out   io.Writer
	lock  sync.Mutex
	lanes map[uint32]*lane
}

// Carry serves the other side until it leaves (nil) or breaks the protocol.
func Carry(in io.Reader, out io.Writer, dial Dial) error {
	m := &mux{dial: dial, out: out, lanes: map[uint32]*lane{}}
	reader := bufio.NewReaderSize(in, headSize+largest)
	for {
		if err := m.next(reader); err != nil {
			m.closeAll()
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
	}
}

// Pipe makes one of the standard streams one that waits without holding a thread.
func Pipe(fd int, name string) *os.File {
	_ = syscall.SetNonblock(fd, true)
	return os.NewFile(uintptr(fd), name)
}

func (m *mux) next(in *bufio.Reader) error {
	var head [headSize]byte
	if _, err := io.ReadFull(in, head[:]); err != nil {
		return err
	}
	kind, id, length := head[0], binary.BigEndian.Uint32(head[1:]), binary.BigEndian.Uint32(head[5:])
	if length > largest {
		return ErrProtocol
	}
	buffer := buffers.Get().(*[headSize + largest]byte)
	payload := chunk{buffer: buffer, data: buffer[:length]}
	if _, err := io.ReadFull(in, payload.data); err != nil {
		return err
	}
	if kind == opening {
		payload.free()
		return m.open(id)
	}
	m.lock.Lock()
	l := m.lanes[id]
	m.lock.Unlock()
	if l == nil {
		// What was under way when the lane closed.
		payload.free()
		return nil
	}
	return l.took(kind, payload)
}

func (m *mux) open(id uint32) error {
	m.lock.Lock()
	defer m.lock.Unlock()
	if m.lanes[id] != nil || len(m.lanes) >= mostLanes {
		return ErrProtocol
	}
	l := newLane(m, id)
	m.lanes[id] = l
	go l.run()
	return nil
}

func (m *mux) forget(id uint32) {
	m.lock.Lock()
	defer m.lock.Unlock()
	delete(m.lanes, id)
}

func (m *mux) closeAll() {
	m.lock.Lock()
	defer m.lock.Unlock()
	for _, l := range m.lanes {
		l.close()
	}
}

// send writes one frame whose payload is the buffer's beyond its head.
func (m *mux) send(kind byte, id uint32, buffer *[headSize + largest]byte, length int) error {
	buffer[0] = kind
	binary.BigEndian.PutUint32(buffer[1:], id)
	binary.BigEndian.PutUint32(buffer[5:], uint32(length))
	m.write.Lock()
	defer m.write.Unlock()
	_, err := m.out.Write(buffer[:headSize+length])
	return err
}

// tell sends a frame without a payload, or with a number.
func (m *mux) tell(kind byte, id uint32, numbers ...uint32) {
	buffer := buffers.Get().(*[headSize + largest]byte)
	defer buffers.Put(buffer)
	for i, number := range numbers {
		binary.BigEndian.PutUint32(buffer[headSize+4*i:], number)
	}
	_ = m.send(kind, id, buffer, 4*len(numbers))
}

// chunk is bytes in a buffer that goes back where it came from.
type chunk struct {
	buffer *[headSize + largest]byte
	data   []byte
}

func (c chunk) free() { buffers.Put(c.buffer) }
