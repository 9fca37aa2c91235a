package api

import (
	"os"
	"strconv"
	"time"

	"rexec-guest/internal/fault"
	"rexec-guest/internal/http1"
	"rexec-guest/internal/ports"
	"rexec-guest/internal/stats"
)

var features = []string{"exec", "terminals", "processes", "files", "archive", "watch", "ports", "stats"}

func addMachine(a *API) {
	a.add("GET", "/v1/hello", (*API).hello)
	a.add("GET", "/v1/ports", (*API).listPorts)
	a.add("GET", "/v1/ports/*/tunnel", (*API).tunnel)
	a.add("GET", "/v1/stats", (*API).stats)
}

func (a *API) hello(x *http1.Exchange, _ []string) error {
	return x.JSON(200, map[string]any{
		"version": a.version, "protocol": protocol, "boot": a.boot, "pid": os.Getpid(),
		"uptime_ms": time.Since(a.began).Milliseconds(), "features": features,
	})
}

func (a *API) listPorts(x *http1.Exchange, _ []string) error {
	return x.JSON(200, map[string]any{"ports": ports.List()})
}

func (a *API) stats(x *http1.Exchange, _ []string) error {
	return x.JSON(200, stats.Read())
}

func (a *API) tunnel(x *http1.Exchange, values []string) error {
	port, err := strconv.Atoi(values[0])
	if err != nil {
		return fault.BadRequest("no such port: %q", values[0])
	}
	if err := x.CanUpgrade(); err != nil {
		return err
	}
	target, err := ports.Connect(port)
	if err != nil {
		return err
	}
	conn, reader, err := x.Upgrade()
	if err != nil {
		_ = target.Close()
		return err
	}
	ports.Carry(target, conn, reader)
	return nil
}
