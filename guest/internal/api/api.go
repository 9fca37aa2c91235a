// Package api is the table of what the guest answers.
package api

import (
	"crypto/rand"
	"encoding/hex"
	"os"
	"strconv"
	"strings"
	"time"

	"rexec-guest/internal/exec"
	"rexec-guest/internal/fault"
	"rexec-guest/internal/http1"
	"rexec-guest/internal/terminal"
)

const (
	protocol   = 1
	maxBody    = 1 << 20
	maxCommand = 4 << 20
	atOnce     = 512
)

// API answers requests.
type API struct {
	version   string
	boot      string
	began     time.Time
	terminals *terminal.Table
	turns     chan struct{}
	routes    []route
}

// route is a method, a path whose `*` parts are handed over, and what answers.
type route struct {
	method string
	parts  []string
	answer func(*API, *http1.Exchange, []string) error
}

// New makes the table.
func New(version string, terminals *terminal.Table) *API {
	a := &API{
		version: version, boot: Random(), began: time.Now(), terminals: terminals,
		turns: make(chan struct{}, atOnce),
	}
	a.add("GET", "/v1/hello", (*API).hello)
	a.add("POST", "/v1/exec", (*API).exec)
	a.add("GET", "/v1/exec/stream", (*API).execStream)
	a.add("GET", "/v1/terminals", (*API).listTerminals)
	a.add("DELETE", "/v1/terminals/*", (*API).closeTerminal)
	a.add("GET", "/v1/terminals/*/attach", (*API).attach)
	return a
}

// Random is a name that nobody had before.
func Random() string {
	var bytes [8]byte
	_, _ = rand.Read(bytes[:])
	return hex.EncodeToString(bytes[:])
}

func (a *API) add(method, path string, answer func(*API, *http1.Exchange, []string) error) {
	a.routes = append(a.routes, route{method, strings.Split(path, "/"), answer})
}

// Handle answers one exchange.
func (a *API) Handle(x *http1.Exchange) error {
	if spoken := x.Header("Rexec-Protocol"); spoken != "" && spoken != strconv.Itoa(protocol) {
		return x.JSON(400, map[string]any{
			"error": "this guest does not speak that protocol", "code": "protocol", "supported": []int{protocol},
		})
	}
	path := strings.Split(x.Path, "/")
	known := false
	for i := range a.routes {
		r := &a.routes[i]
		values, ok := r.match(path)
		if !ok {
			continue
		}
		known = true
		if r.method == x.Method {
			return a.turn(x, r, values)
		}
	}
	if known {
		return fault.New(405, "bad_request", "no %s of %s", x.Method, x.Path)
	}
	return fault.NotFound("no such path: %s", x.Path)
}

func (a *API) turn(x *http1.Exchange, r *route, values []string) error {
	a.turns <- struct{}{}
	defer func() { <-a.turns }()
	return r.answer(a, x, values)
}

func (r *route) match(path []string) ([]string, bool) {
	if len(path) != len(r.parts) {
		return nil, false
	}
	var values []string
	for i, part := range r.parts {
		if part == "*" && path[i] != "" {
			values = append(values, path[i])
		} else if part != path[i] {
			return nil, false
		}
	}
	return values, true
}

func (a *API) hello(x *http1.Exchange, _ []string) error {
	return x.JSON(200, map[string]any{
		"version": a.version, "protocol": protocol, "boot": a.boot, "pid": os.Getpid(),
		"uptime_ms": time.Since(a.began).Milliseconds(), "features": features,
	})
}

var features = []string{"exec", "terminals"}

func (a *API) exec(x *http1.Exchange, _ []string) error {
	request := &exec.Request{}
	if err := x.Decode(request, maxCommand); err != nil {
		return err
	}
	result, err := exec.Run(x.Watch(), request)
	if err != nil {
		return err
	}
	return x.JSON(200, result)
}

func (a *API) execStream(x *http1.Exchange, _ []string) error {
	conn, reader, err := x.Upgrade()
	if err != nil {
		return err
	}
	return exec.Serve(conn, reader)
}
