package api

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"rexec-guest/internal/dial"
	"rexec-guest/internal/frames"
	"rexec-guest/internal/reap"
	"rexec-guest/internal/terminal"
)

func TestMain(m *testing.M) {
	reap.Adopt()
	os.Exit(m.Run())
}

// server is the other side of the guest's connections.
type server struct {
	t     *testing.T
	conns chan net.Conn
}

const soon = 60 * time.Second

func serve(t *testing.T) *server {
	t.Helper()
	dir, err := os.MkdirTemp("", "guest")
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("unix", filepath.Join(dir, "a.sock"))
	if err != nil {
		t.Fatal(err)
	}
	s := &server{t: t, conns: make(chan net.Conn, 1024)}
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			s.conns <- conn
		}
	}()
	terminals := terminal.NewTable()
	go dial.New(dir, New("test", terminals).Handle).Run()
	t.Cleanup(func() {
		terminals.HangUp()
		_ = listener.Close()
		_ = os.RemoveAll(dir)
	})
	return s
}

func (s *server) conn() net.Conn {
	s.t.Helper()
	select {
	case conn := <-s.conns:
		_ = conn.SetDeadline(time.Now().Add(soon))
		return conn
	case <-time.After(soon):
		s.t.Fatal("the guest does not connect")
		return nil
	}
}

// reply is what came back for one request.
type reply struct {
	status int
	header map[string]string
	body   []byte
}

func (a *reply) json(t *testing.T) map[string]any {
	t.Helper()
	value := map[string]any{}
	if err := json.Unmarshal(a.body, &value); err != nil {
		t.Fatalf("%q: %v", a.body, err)
	}
	return value
}

func (a *reply) code(t *testing.T) string {
	t.Helper()
	code, _ := a.json(t)["code"].(string)
	return code
}

func (s *server) call(method, path string, body []byte, headers ...string) *reply {
	s.t.Helper()
	conn := s.conn()
	a := s.callOn(conn, bufio.NewReader(conn), method, path, body, headers...)
	if a.header["connection"] == "close" {
		_ = conn.Close()
	} else {
		s.conns <- conn
	}
	return a
}

func (s *server) callOn(conn net.Conn, reader *bufio.Reader, method, path string, body []byte, headers ...string) *reply {
	s.t.Helper()
	head := fmt.Sprintf("%s %s HTTP/1.1\r\nHost: guest\r\nRexec-Protocol: 1\r\nContent-Length: %d\r\n", method, path, len(body))
	for _, line := range headers {
		head += line + "\r\n"
	}
	go func() { _, _ = conn.Write(append([]byte(head+"\r\n"), body...)) }()
	return s.read(reader)
}

func (s *server) read(reader *bufio.Reader) *reply {
	s.t.Helper()
	a := &reply{header: map[string]string{}}
	line, err := reader.ReadString('\n')
	if err != nil {
		s.t.Fatalf("no answer: %v", err)
	}
	if a.status, err = strconv.Atoi(strings.Fields(line)[1]); err != nil {
		s.t.Fatalf("%q", line)
	}
	for {
		line, err = reader.ReadString('\n')
		if err != nil {
			s.t.Fatal(err)
		}
		if line = strings.TrimSpace(line); line == "" {
			break
		}
		name, value, _ := strings.Cut(line, ": ")
		a.header[strings.ToLower(name)] = value
	}
	if a.header["transfer-encoding"] == "chunked" {
		a.body = s.chunks(reader)
		return a
	}
	length, _ := strconv.Atoi(a.header["content-length"])
	a.body = make([]byte, length)
	if _, err := io.ReadFull(reader, a.body); err != nil {
		s.t.Fatal(err)
	}
	return a
}

func (s *server) chunks(reader *bufio.Reader) []byte {
	s.t.Helper()
	var body bytes.Buffer
	for {
		line, err := reader.ReadString('\n')
		if err != nil {
			s.t.Fatal(err)
		}
		size, err := strconv.ParseInt(strings.TrimSpace(line), 16, 64)
		if err != nil {
			s.t.Fatal(err)
		}
		if _, err := io.CopyN(&body, reader, size); err != nil {
			s.t.Fatal(err)
		}
		if _, err := reader.Discard(2); err != nil {
			s.t.Fatal(err)
		}
		if size == 0 {
			return body.Bytes()
		}
	}
}

func (s *server) post(path string, value any) *reply {
	s.t.Helper()
	body, err := json.Marshal(value)
	if err != nil {
		s.t.Fatal(err)
	}
	return s.call("POST", path, body)
}

// stream is an upgraded connection.
type stream struct {
	t      *testing.T
	conn   net.Conn
	source *frames.Reader
	out    *frames.Writer
}

func (s *server) upgrade(path string, first any) *stream {
	s.t.Helper()
	conn := s.conn()
	_, err := fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: rexec-stream\r\nRexec-Protocol: 1\r\n\r\n", path)
	if err != nil {
		s.t.Fatal(err)
	}
	reader := bufio.NewReader(conn)
	line, _ := reader.ReadString('\n')
	if !strings.Contains(line, " 101 ") {
		s.t.Fatalf("%q", line)
	}
	for line != "\r\n" {
		if line, err = reader.ReadString('\n'); err != nil {
			s.t.Fatal(err)
		}
	}
	st := &stream{t: s.t, conn: conn, source: frames.NewReader(reader), out: frames.NewWriter(conn)}
	s.t.Cleanup(func() { _ = conn.Close() })
	if first != nil {
		st.control(first)
	}
	return st
}

func (st *stream) control(message any) {
	st.t.Helper()
	if err := st.out.Control(message); err != nil {
		st.t.Fatal(err)
	}
}

func (st *stream) input(text string) {
	st.t.Helper()
	if err := st.out.Send(frames.Input, []byte(text)); err != nil {
		st.t.Fatal(err)
	}
}

// next is the next frame; a control frame comes as its object too.
func (st *stream) next() (byte, []byte, map[string]any) {
	st.t.Helper()
	frame, err := st.source.Next()
	if err == io.EOF {
		return 0, nil, nil
	}
	if err != nil {
		st.t.Fatalf("no frame: %v", err)
	}
	payload := bytes.Clone(frame.Payload)
	if frame.Kind != frames.Control {
		return frame.Kind, payload, nil
	}
	message := map[string]any{}
	if err := json.Unmarshal(payload, &message); err != nil {
		st.t.Fatalf("%q: %v", payload, err)
	}
	return frame.Kind, payload, message
}

// expect is the next control frame of a type; other frames before it are dropped.
func (st *stream) expect(kind string) map[string]any {
	st.t.Helper()
	for {
		letter, _, message := st.next()
		if letter == 0 {
			st.t.Fatalf("the end came before %q", kind)
		}
		if message != nil && message["type"] == kind {
			return message
		}
	}
}
