// Package api is the table of what the guest answers.
package api

import (
	"crypto/rand"
	"encoding/hex"
	"runtime/debug"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"rexec-guest/internal/background"
	"rexec-guest/internal/fault"
	"rexec-guest/internal/http1"
	"rexec-guest/internal/terminal"
)

const (
	protocol   = 1
	maxBody    = 1 << 20
	maxCommand = 4 << 20
	atOnce     = 512
	tidyEvery  = 30 * time.Second
)

// API answers requests.
type API struct {
	version   string
	boot      string
	began     time.Time
	terminals *terminal.Table
	processes *background.Table
	turns     chan struct{}
	worked    atomic.Bool // since the last tidying
	routes    []route
}

// route is a method, a path whose `*` parts are handed over, and what answers.
type route struct {
	method string
	parts  []string
	answer answer
	free   bool // of the bound on requests at once
}

type answer func(*API, *http1.Exchange, []string) error

// New makes the table.
func New(version string, terminals *terminal.Table) *API {
	a := &API{
		version: version, boot: random(), began: time.Now(), terminals: terminals,
		processes: background.NewTable(), turns: make(chan struct{}, atOnce),
	}
	for _, add := range []func(*API){addCommands, addTerminals, addFiles, addMachine} {
		add(a)
	}
	return a
}

// random is a name that nobody had before.
func random() string {
	var bytes [8]byte
	_, _ = rand.Read(bytes[:])
	return hex.EncodeToString(bytes[:])
}

func (a *API) add(method, path string, answer answer) {
	a.routes = append(a.routes, route{method, strings.Split(path, "/"), answer, path == "/v1/hello"})
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

// turn bounds how much is done at once. Streams are bounded by the connections, and a greeting is always answered.
func (a *API) turn(x *http1.Exchange, r *route, values []string) error {
	if r.free || x.Header("Upgrade") != "" {
		return r.answer(a, x, values)
	}
	a.turns <- struct{}{}
	defer func() { <-a.turns }()
	a.worked.Store(true)
	return r.answer(a, x, values)
}

// Tidy gives memory back to the container when there was work and it is over.
func (a *API) Tidy() {
	for {
		time.Sleep(tidyEvery)
		if len(a.turns) == 0 && a.worked.Swap(false) {
			debug.FreeOSMemory()
		}
	}
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
