package http1

import (
	"bytes"
	"io"
	"net"
	"strings"
	"testing"
	"time"
)

type stays struct{}

func (stays) Busy()      {}
func (stays) Rest() bool { return true }

// talk sends bytes, ends them, and is what came back.
func talk(t *testing.T, sent []byte, handler Handler) string {
	t.Helper()
	here, there := net.Pipe()
	done := make(chan struct{})
	go func() {
		defer close(done)
		Serve(there, stays{}, handler)
	}()
	go func() {
		_, _ = here.Write(sent)
		_ = here.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
	}()
	answer, _ := io.ReadAll(here)
	_ = here.Close()
	select {
	case <-done:
	case <-time.After(10 * time.Second):
		t.Fatal("the connection is served for ever")
	}
	return string(answer)
}

func echo(x *Exchange) error {
	body, err := io.ReadAll(x.Body())
	if err != nil {
		return err
	}
	return x.JSON(200, map[string]string{"method": x.Method, "path": x.Path, "q": x.Query.Get("q"), "body": string(body)})
}

func TestRequests(t *testing.T) {
	cases := map[string]string{
		"GET /a%20b?q=%ff+c HTTP/1.1\r\nHost: x\r\n\r\n":                                                        `"path":"/a b"`,
		"POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc":                                                       `"body":"abc"`,
		"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1;x=y\r\nc\r\n0\r\nTrailer: t\r\n\r\n": `"body":"abc"`,
		"GET / HTTP/1.1\r\nConnection: close\r\n\r\n":                                                           "Connection: close",
	}
	for request, want := range cases {
		if answer := talk(t, []byte(request), echo); !strings.HasPrefix(answer, "HTTP/1.1 200 ") || !strings.Contains(answer, want) {
			t.Errorf("%q: %q", request, answer)
		}
	}
	two := "POST /1 HTTP/1.1\r\nContent-Length: 1\r\n\r\naGET /2 HTTP/1.1\r\n\r\n"
	if answer := talk(t, []byte(two), echo); !strings.Contains(answer, `"path":"/1"`) || !strings.Contains(answer, `"path":"/2"`) {
		t.Errorf("%q", answer)
	}
}

func TestGarbageIsRefused(t *testing.T) {
	for _, request := range []string{
		"hello\r\n\r\n", "GET / HTTP/1.0\r\n\r\n", "GET http://x/ HTTP/1.1\r\n\r\n", "GET /%zz HTTP/1.1\r\n\r\n",
		"GET / HTTP/1.1\r\nno colon\r\n\r\n", "GET / HTTP/1.1\r\nbad name: x\r\n\r\n",
		"POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n", "POST / HTTP/1.1\r\nContent-Length: x\r\n\r\n",
		"POST / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		"POST / HTTP/1.1\r\nTransfer-Encoding: gzip\r\n\r\n", "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
		"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nabc\r\n",
		"GET / HTTP/1.1\r\nX: " + strings.Repeat("x", 20_000) + "\r\n\r\n",
	} {
		if answer := talk(t, []byte(request), echo); !strings.HasPrefix(answer, "HTTP/1.1 4") {
			t.Errorf("%q: %q", request[:min(len(request), 80)], answer)
		}
	}
}

func TestWatchSeesTheOtherSideLeave(t *testing.T) {
	here, there := net.Pipe()
	left := make(chan struct{})
	go Serve(there, stays{}, func(x *Exchange) error {
		<-x.Watch().Done()
		close(left)
		return x.JSON(200, nil)
	})
	_, _ = here.Write([]byte("GET / HTTP/1.1\r\n\r\n"))
	_ = here.Close()
	select {
	case <-left:
	case <-time.After(10 * time.Second):
		t.Fatal("nobody saw it")
	}
}

func FuzzServe(f *testing.F) {
	f.Add([]byte("GET /a?b=c HTTP/1.1\r\nHost: x\r\n\r\n"))
	f.Add([]byte("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\nGET / HTTP/1.1\r\n\r\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		conn := &canned{in: bytes.NewReader(data)}
		Serve(conn, stays{}, echo)
		if out := conn.out.String(); out != "" && !strings.HasPrefix(out, "HTTP/1.1 ") {
			t.Fatalf("%q", out)
		}
	})
}

// canned is a connection whose other side said everything at once and left.
type canned struct {
	net.Conn
	in  *bytes.Reader
	out bytes.Buffer
}

func (c *canned) Read(out []byte) (int, error)       { return c.in.Read(out) }
func (c *canned) Write(data []byte) (int, error)     { return c.out.Write(data) }
func (c *canned) Close() error                       { return nil }
func (c *canned) SetReadDeadline(_ time.Time) error  { return nil }
func (c *canned) SetWriteDeadline(_ time.Time) error { return nil }
