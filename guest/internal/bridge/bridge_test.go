package bridge

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"path/filepath"
	"testing"
	"time"
)

const soon = 30 * time.Second

// far is the server's end of a bridge whose guest echoes.
type far struct {
	t    *testing.T
	in   *io.PipeWriter
	out  *io.PipeReader
	over chan error
}

func begin(t *testing.T, serve func(*net.UnixConn)) *far {
	t.Helper()
	path := filepath.Join(t.TempDir(), "s")
	listener, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go serve(conn.(*net.UnixConn))
		}
	}()
	inRead, inWrite := io.Pipe()
	outRead, outWrite := io.Pipe()
	f := &far{t: t, in: inWrite, out: outRead, over: make(chan error, 1)}
	go func() {
		f.over <- Carry(inRead, outWrite, func() (*net.UnixConn, error) {
			conn, err := net.Dial("unix", path)
			if err != nil {
				return nil, err
			}
			return conn.(*net.UnixConn), nil
		})
		_ = outWrite.Close()
	}()
	t.Cleanup(func() { _ = listener.Close(); _ = inWrite.Close() })
	return f
}

// send may come too late; what is asserted is what comes back.
func (f *far) send(kind byte, lane uint32, payload []byte) {
	frame := make([]byte, headSize, headSize+len(payload))
	frame[0] = kind
	binary.BigEndian.PutUint32(frame[1:], lane)
	binary.BigEndian.PutUint32(frame[5:], uint32(len(payload)))
	_, _ = f.in.Write(append(frame, payload...))
}

func (f *far) next() (byte, uint32, []byte) {
	f.t.Helper()
	var head [headSize]byte
	if _, err := io.ReadFull(f.out, head[:]); err != nil {
		f.t.Fatal(err)
	}
	payload := make([]byte, binary.BigEndian.Uint32(head[5:]))
	if _, err := io.ReadFull(f.out, payload); err != nil {
		f.t.Fatal(err)
	}
	return head[0], binary.BigEndian.Uint32(head[1:]), payload
}

func (f *far) ended() error {
	f.t.Helper()
	go func() { _, _ = io.Copy(io.Discard, f.out) }()
	select {
	case err := <-f.over:
		return err
	case <-time.After(soon):
		f.t.Fatal("the bridge did not end")
		return nil
	}
}

func echo(conn *net.UnixConn) {
	_, _ = io.Copy(conn, conn)
	_ = conn.CloseWrite()
}

// push sends all of it as room is granted.
func (f *far) push(lane uint32, whole []byte, granted <-chan int) {
	f.send(opening, lane, nil)
	room := Window
	for len(whole) > 0 {
		if room == 0 {
			room += <-granted
		}
		count := min(room, largest, len(whole))
		f.send(data, lane, whole[:count])
		whole, room = whole[count:], room-count
	}
	f.send(ending, lane, nil)
}

func TestLanesCarryBytesBothWaysAndEnd(t *testing.T) {
	f := begin(t, echo)
	sent := map[uint32][]byte{7: bytes.Repeat([]byte("seven"), 200_000), 8: bytes.Repeat([]byte("8"), 900_001)}
	granted, got, over := map[uint32]chan int{}, map[uint32][]byte{}, 0
	for lane, whole := range sent {
		granted[lane] = make(chan int, 1024)
		go f.push(lane, whole, granted[lane])
	}
	for over < len(sent) {
		kind, lane, payload := f.next()
		switch kind {
		case data:
			got[lane] = append(got[lane], payload...)
			go f.send(window, lane, binary.BigEndian.AppendUint32(nil, uint32(len(payload))))
		case window:
			granted[lane] <- int(binary.BigEndian.Uint32(payload))
		case closing:
			over++
		case ending:
			if !bytes.Equal(got[lane], sent[lane]) {
				t.Errorf("lane %d: %d bytes came back of %d", lane, len(got[lane]), len(sent[lane]))
			}
		}
	}
}

func TestTheEndOfTheServerIsTheEndOfTheBridge(t *testing.T) {
	f := begin(t, echo)
	f.send(opening, 1, nil)
	_ = f.in.Close()
	if err := f.ended(); err != nil {
		t.Error(err)
	}
}

func TestAnUnreadLaneHoldsUpNoOther(t *testing.T) {
	f := begin(t, func(conn *net.UnixConn) {
		flood := bytes.Repeat([]byte("x"), 64<<10)
		for {
			if _, err := conn.Write(flood); err != nil {
				return
			}
		}
	})
	go f.send(opening, 1, nil)
	for came := 0; came < Window; {
		_, _, payload := f.next()
		came += len(payload)
	}
	go f.send(opening, 2, nil)
	if kind, lane, _ := f.next(); kind != data || lane != 2 {
		t.Fatalf("a lane at its window still sends: %c of %d", kind, lane)
	}
	go f.send(closing, 1, nil)
	for {
		if kind, lane, _ := f.next(); kind == closing && lane == 1 {
			break
		}
	}
}

func TestWhatTheServerMustNotSendEndsTheBridge(t *testing.T) {
	for name, frames := range map[string]func(*far){
		"an unknown kind":    func(f *far) { f.send('?', 1, nil) },
		"a lane twice":       func(f *far) { f.send(opening, 1, nil) },
		"room that is there": func(f *far) { f.send(window, 1, []byte{0, 0, 0, 1}) },
		"a window too wide": func(f *far) {
			frame := append([]byte{data, 0, 0, 0, 1, 0, 0, 0x80, 0}, make([]byte, largest)...)
			for range 4 * Window / largest {
				_, _ = f.in.Write(frame)
			}
		},
		"a frame too long": func(f *far) { _, _ = f.in.Write([]byte{data, 0, 0, 0, 1, 0, 1, 0, 0}) },
	} {
		t.Run(name, func(t *testing.T) {
			stuck := make(chan struct{})
			defer close(stuck)
			f := begin(t, func(*net.UnixConn) { <-stuck })
			f.send(opening, 1, nil)
			go frames(f)
			if err := f.ended(); !errors.Is(err, ErrProtocol) {
				t.Errorf("ended with %v", err)
			}
		})
	}
}
