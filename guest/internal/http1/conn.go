// Package http1 is the HTTP/1.1 server of the guest: one connection at a time, bounded heads, streamed bodies, upgrades,
// and the knowledge whether the other side is still there. It is here because net/http is larger than all of the guest.
package http1

import (
	"bufio"
	"errors"
	"io"
	"net"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"rexec-guest/internal/fault"
)

const (
	maxHead  = 16 << 10
	drainFor = 30 * time.Second
	bodyIdle = 60 * time.Second
)

// Idle is told when a connection begins and ends to wait for a request.
type Idle interface {
	Busy()
	// Rest says whether the connection may stay for another request.
	Rest() bool
}

// lingering is how long the last of a stream may take to be read.
const lingering = 2 * time.Second

// Handler answers one exchange; an error it returns becomes the answer where none has begun.
type Handler func(*Exchange) error

var readers = sync.Pool{New: func() any { return bufio.NewReaderSize(nil, 4096) }}

// Serve answers the requests of one connection until it ends, and closes it.
func Serve(conn net.Conn, idle Idle, handler Handler) {
	defer conn.Close()
	for {
		var first [1]byte
		if _, err := io.ReadFull(conn, first[:]); err != nil {
			return
		}
		idle.Busy()
		if !serveOne(conn, first[0], idle, handler) {
			return
		}
	}
}

// pushback gives a byte already read once more.
type pushback struct {
	conn  net.Conn
	first byte
	used  bool
}

func (p *pushback) Read(out []byte) (int, error) {
	if !p.used && len(out) > 0 {
		p.used = true
		out[0] = p.first
		return 1, nil
	}
	return p.conn.Read(out)
}

// serveOne answers one request, and those that came behind it in the same bytes; it says whether the connection stays.
func serveOne(conn net.Conn, first byte, idle Idle, handler Handler) bool {
	reader := readers.Get().(*bufio.Reader)
	reader.Reset(&pushback{conn: conn, first: first})
	for {
		if !exchange(conn, reader, idle, handler) {
			return false
		}
		if reader.Buffered() == 0 {
			break
		}
	}
	reader.Reset(nil)
	readers.Put(reader)
	return true
}

func exchange(conn net.Conn, reader *bufio.Reader, idle Idle, handler Handler) bool {
	_ = conn.SetReadDeadline(time.Now().Add(bodyIdle))
	x := &Exchange{conn: conn, reader: reader, idle: idle, body: &exact{}}
	err := x.readHead()
	_ = conn.SetReadDeadline(time.Time{})
	if err == nil {
		err = answered(x, handler)
	} else {
		x.close = true
	}
	x.stopWatching()
	if x.upgraded {
		linger(conn)
		return false
	}
	if err != nil {
		x.fail(err)
	}
	if !x.started {
		x.fail(fault.New(500, "internal", "no answer"))
	}
	return x.finish() && !x.close
}

// linger lets the other side read the last of a stream: a close with input unread would throw away what it has not read
// yet.
func linger(conn net.Conn) {
	half, ok := conn.(interface{ CloseWrite() error })
	if !ok || half.CloseWrite() != nil {
		return
	}
	_ = conn.SetReadDeadline(time.Now().Add(lingering))
	_, _ = io.Copy(io.Discard, conn)
}

// answered keeps a mistake in one answer from ending the container.
func answered(x *Exchange, handler Handler) (err error) {
	defer func() {
		if problem := recover(); problem != nil {
			err = fault.New(500, "internal", "%v", problem)
		}
	}()
	return handler(x)
}

// Exchange is one request and its answer.
type Exchange struct {
	Method string
	Path   string
	Query  url.Values
	header map[string]string

	conn     net.Conn
	reader   *bufio.Reader
	idle     Idle
	body     io.Reader
	started  bool
	close    bool
	upgraded bool
	out      *answer
	watching *watching
}

var errHead = fault.BadRequest("not a request of HTTP/1.1")

func (x *Exchange) readHead() error {
	left := maxHead
	line, err := x.line(&left)
	if err != nil {
		return err
	}
	method, rest, ok := strings.Cut(line, " ")
	target, version, ok2 := strings.Cut(rest, " ")
	if !ok || !ok2 || version != "HTTP/1.1" || !strings.HasPrefix(target, "/") {
		return errHead
	}
	x.Method = method
	path, query, _ := strings.Cut(target, "?")
	if x.Path, err = url.PathUnescape(path); err != nil {
		return errHead
	}
	if x.Query, err = url.ParseQuery(query); err != nil {
		return errHead
	}
	x.header = make(map[string]string, 8)
	for {
		if line, err = x.line(&left); err != nil {
			return err
		}
		if line == "" {
			break
		}
		name, value, ok := strings.Cut(line, ":")
		if !ok || name == "" || strings.ContainsAny(name, " \t") {
			return errHead
		}
		x.header[strings.ToLower(name)] = strings.TrimSpace(value)
	}
	return x.frameBody()
}

func (x *Exchange) line(left *int) (string, error) {
	var long []byte
	for {
		part, err := x.reader.ReadSlice('\n')
		if *left -= len(part); *left < 0 {
			return "", fault.New(431, "bad_request", "the head is longer than %d bytes", maxHead)
		}
		if err == nil {
			if long == nil {
				return strings.TrimRight(string(part), "\r\n"), nil
			}
			return strings.TrimRight(string(append(long, part...)), "\r\n"), nil
		}
		if !errors.Is(err, bufio.ErrBufferFull) {
			return "", err
		}
		long = append(long, part...)
	}
}

// frameBody finds where the body ends.
func (x *Exchange) frameBody() error {
	length, coding := x.header["content-length"], strings.ToLower(x.header["transfer-encoding"])
	x.close = strings.EqualFold(x.header["connection"], "close")
	switch {
	case coding == "chunked" && length == "":
		x.body = &chunked{reader: x.reader}
	case coding != "":
		return errHead
	case length != "":
		count, err := strconv.ParseInt(length, 10, 64)
		if err != nil || count < 0 {
			return errHead
		}
		x.body = &exact{reader: x.reader, left: count}
	default:
		x.body = &exact{}
	}
	return nil
}

// Header is a request header's value.
func (x *Exchange) Header(name string) string { return x.header[strings.ToLower(name)] }

// finish ends the answer, takes what is left of the request's body and says whether the connection can go on. A refused
// upload is read to its end: closing under what is still being sent would take the answer with it.
func (x *Exchange) finish() bool {
	if x.out == nil || x.out.end() != nil {
		return false
	}
	_ = x.conn.SetReadDeadline(time.Now().Add(drainFor))
	_, err := io.Copy(io.Discard, x.body)
	_ = x.conn.SetReadDeadline(time.Time{})
	return err == nil
}
