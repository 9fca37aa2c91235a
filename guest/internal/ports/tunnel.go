package ports

import (
	"bufio"
	"errors"
	"io"
	"net"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"rexec-guest/internal/fault"
	"rexec-guest/internal/frames"
)

const patience = 5 * time.Second

// Connect finds what listens on the port: on the loopback addresses, then on the container's own.
func Connect(port int) (*net.TCPConn, error) {
	if port < 1 || port > 65535 {
		return nil, fault.BadRequest("no such port: %d", port)
	}
	hosts := []string{"127.0.0.1", "::1"}
	if addresses, err := net.InterfaceAddrs(); err == nil {
		for _, address := range addresses {
			if known, ok := address.(*net.IPNet); ok && !known.IP.IsLoopback() && !known.IP.IsLinkLocalUnicast() {
				hosts = append(hosts, known.IP.String())
			}
		}
	}
	for _, host := range hosts {
		conn, err := net.DialTimeout("tcp", net.JoinHostPort(host, strconv.Itoa(port)), patience)
		if err == nil {
			return conn.(*net.TCPConn), nil
		}
	}
	return nil, fault.New(502, "connection_refused", "nothing listens on port %d", port)
}

// Carry moves bytes both ways until both directions have ended or either side broke.
func Carry(target *net.TCPConn, conn net.Conn, reader *bufio.Reader) {
	t := &tunnel{target: target, conn: conn, out: frames.NewWriter(conn)}
	var both sync.WaitGroup
	both.Go(func() { t.inward(frames.NewReader(reader)) })
	both.Go(t.outward)
	both.Wait()
	t.close()
}

type tunnel struct {
	target *net.TCPConn
	conn   net.Conn
	out    *frames.Writer
	ended  atomic.Int32
	broken sync.Once
}

func (t *tunnel) close() {
	_ = t.target.Close()
	_ = t.conn.Close()
}

// end is the clean end of one direction; the second one ends the tunnel.
func (t *tunnel) end() {
	if t.ended.Add(1) == 2 {
		t.close()
	}
}

// reset tells that the connection to the port broke: what came so far may not be all.
func (t *tunnel) reset(err error) {
	t.broken.Do(func() {
		var errno syscall.Errno
		if errors.As(err, &errno) {
			_ = t.out.Control(map[string]string{"type": "error", "error": errno.Error(), "code": "connection_reset"})
		}
		t.close()
	})
}

func (t *tunnel) inward(source *frames.Reader) {
	ended := false
	for {
		frame, err := source.Next()
		switch {
		case err == nil && frame.Kind == frames.Input && !ended:
			if err := t.write(frame.Payload); err != nil {
				t.reset(err)
				return
			}
		case err == nil && frame.Kind == frames.End && !ended:
			ended = true
			_ = t.target.CloseWrite()
			t.end()
		default:
			t.close()
			return
		}
	}
}

// write waits for the target to read, unless the server leaves meanwhile.
func (t *tunnel) write(data []byte) error {
	for len(data) > 0 {
		_ = t.target.SetWriteDeadline(time.Now().Add(frames.Blink))
		count, err := t.target.Write(data)
		data = data[count:]
		if errors.Is(err, os.ErrDeadlineExceeded) && !frames.Left(t.conn) {
			continue
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (t *tunnel) outward() {
	buffer := make([]byte, 32<<10)
	for {
		count, err := t.target.Read(buffer)
		if count > 0 && t.out.Send(frames.Output, buffer[:count]) != nil {
			t.close()
			return
		}
		if err == io.EOF && t.out.Send(frames.End) == nil {
			t.end()
			return
		}
		if err != nil {
			t.reset(err)
			return
		}
	}
}
