package http1

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"time"

	"rexec-guest/internal/fault"
)

// Body is the request's body, to be read as a stream.
func (x *Exchange) Body() io.Reader { return x.body }

// Decode reads a JSON body of at most limit bytes into value.
func (x *Exchange) Decode(value any, limit int64) error {
	_ = x.conn.SetReadDeadline(time.Now().Add(bodyIdle))
	data, err := io.ReadAll(io.LimitReader(x.body, limit+1))
	_ = x.conn.SetReadDeadline(time.Time{})
	if err != nil {
		return err
	}
	if int64(len(data)) > limit {
		return fault.New(413, "bad_request", "the body is longer than %d bytes", limit)
	}
	if err := json.Unmarshal(data, value); err != nil {
		return fault.BadRequest("the body is not the JSON that is expected: %s", err)
	}
	return nil
}

// JSON answers with a value.
func (x *Exchange) JSON(status int, value any) error {
	data, err := json.Marshal(value)
	if err != nil {
		return err
	}
	out := x.Start(status, int64(len(data)), "Content-Type", "application/json")
	_, err = out.Write(data)
	return err
}

// fail answers with an error, or breaks the connection where an answer had begun.
func (x *Exchange) fail(err error) {
	if x.started {
		x.close = true
		x.out.broken = true
		return
	}
	var known *fault.Error
	var network *net.OpError
	if !errors.As(err, &known) && (errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.As(err, &network)) {
		x.close = true
		x.started = true
		return
	}
	problem := fault.From(err)
	_ = x.JSON(problem.Status, problem)
}

// Start begins an answer of length bytes, or a chunked one where length is -1; the headers are pairs.
func (x *Exchange) Start(status int, length int64, headers ...string) io.Writer {
	x.started = true
	if !x.close && !x.idle.Rest() {
		x.close = true
	}
	var head strings.Builder
	fmt.Fprintf(&head, "HTTP/1.1 %d %s\r\n", status, reason(status))
	for i := 0; i+1 < len(headers); i += 2 {
		head.WriteString(headers[i] + ": " + headers[i+1] + "\r\n")
	}
	if length >= 0 {
		head.WriteString("Content-Length: " + strconv.FormatInt(length, 10) + "\r\n")
	} else {
		head.WriteString("Transfer-Encoding: chunked\r\n")
	}
	if x.close {
		head.WriteString("Connection: close\r\n")
	}
	head.WriteString("\r\n")
	x.out = &answer{conn: x.conn, head: []byte(head.String()), left: length, chunked: length < 0}
	return x.out
}

func reason(status int) string {
	switch {
	case status < 300:
		return "OK"
	case status < 500:
		return "Refused"
	default:
		return "Failed"
	}
}

// answer writes the head together with the first bytes of the body.
type answer struct {
	conn    net.Conn
	head    []byte
	left    int64
	chunked bool
	broken  bool
}

func (a *answer) Write(data []byte) (int, error) {
	if len(data) == 0 {
		return 0, nil
	}
	var err error
	if !a.chunked {
		if a.left -= int64(len(data)); a.left < 0 {
			a.broken = true
			return 0, io.ErrShortWrite
		}
		err = a.write(data)
	} else {
		err = a.write([]byte(strconv.FormatInt(int64(len(data)), 16)+"\r\n"), data, []byte("\r\n"))
	}
	if err != nil {
		a.broken = true
		return 0, err
	}
	return len(data), nil
}

func (a *answer) write(parts ...[]byte) error {
	buffers := make(net.Buffers, 0, len(parts)+1)
	if a.head != nil {
		buffers = append(buffers, a.head)
		a.head = nil
	}
	buffers = append(buffers, parts...)
	_, err := buffers.WriteTo(a.conn)
	return err
}

func (a *answer) end() error {
	if a.broken {
		return io.ErrClosedPipe
	}
	if a.chunked {
		return a.write([]byte("0\r\n\r\n"))
	}
	if a.left != 0 {
		return io.ErrUnexpectedEOF
	}
	return a.write()
}

// Upgrade switches to frames and hands the connection over; it is closed after the handler returns.
func (x *Exchange) Upgrade() (net.Conn, *bufio.Reader, error) {
	if err := x.CanUpgrade(); err != nil {
		return nil, nil, err
	}
	x.started, x.upgraded = true, true
	_, err := io.WriteString(x.conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: rexec-stream\r\n\r\n")
	return x.conn, x.reader, err
}

// CanUpgrade refuses a request that does not ask for frames.
func (x *Exchange) CanUpgrade() error {
	if !strings.EqualFold(x.Header("Upgrade"), "rexec-stream") {
		return fault.New(426, "bad_request", "this is a stream: Upgrade: rexec-stream is missing")
	}
	return nil
}
