package api

import (
	"strconv"
	"time"

	"rexec-guest/internal/background"
	"rexec-guest/internal/exec"
	"rexec-guest/internal/fault"
	"rexec-guest/internal/http1"
)

const longestWait = 60 * time.Second

func addCommands(a *API) {
	a.add("POST", "/v1/exec", (*API).exec)
	a.add("GET", "/v1/exec/stream", (*API).execStream)
	a.add("GET", "/v1/processes", (*API).listProcesses)
	a.add("POST", "/v1/processes", (*API).startProcess)
	a.add("GET", "/v1/processes/*", (*API).process)
	a.add("DELETE", "/v1/processes/*", (*API).removeProcess)
	a.add("GET", "/v1/processes/*/logs", (*API).processLogs)
	a.add("POST", "/v1/processes/*/signal", (*API).signalProcess)
	a.add("GET", "/v1/processes/*/wait", (*API).waitProcess)
}

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

func (a *API) listProcesses(x *http1.Exchange, _ []string) error {
	return x.JSON(200, map[string]any{"processes": a.processes.List()})
}

func (a *API) startProcess(x *http1.Exchange, _ []string) error {
	request := &background.Request{}
	if err := x.Decode(request, maxCommand); err != nil {
		return err
	}
	p, err := a.processes.Start(request)
	if err != nil {
		return err
	}
	return x.JSON(201, p.Item())
}

func (a *API) process(x *http1.Exchange, values []string) error {
	p, err := a.processes.Get(values[0])
	if err != nil {
		return err
	}
	return x.JSON(200, p.Item())
}

func (a *API) removeProcess(x *http1.Exchange, values []string) error {
	if err := a.processes.Remove(values[0]); err != nil {
		return err
	}
	return x.JSON(200, struct{}{})
}

func (a *API) processLogs(x *http1.Exchange, values []string) error {
	p, err := a.processes.Get(values[0])
	if err != nil {
		return err
	}
	offset := int64(0)
	if text := x.Query.Get("offset"); text != "" {
		if offset, err = strconv.ParseInt(text, 10, 64); err != nil || offset < 0 {
			return fault.BadRequest("no such offset: %q", text)
		}
	}
	data, from, end, err := p.Logs(x.Query.Get("stream"), offset)
	if err != nil {
		return err
	}
	out := x.Start(200, int64(len(data)), "Content-Type", "application/octet-stream",
		"Rexec-Offset", strconv.FormatInt(from, 10), "Rexec-End", strconv.FormatInt(end, 10))
	_, err = out.Write(data)
	return err
}

func (a *API) signalProcess(x *http1.Exchange, values []string) error {
	p, err := a.processes.Get(values[0])
	if err != nil {
		return err
	}
	var message struct {
		Signal any `json:"signal"`
	}
	if err := x.Decode(&message, maxBody); err != nil {
		return err
	}
	signal, err := exec.Signal(message.Signal)
	if err != nil {
		return err
	}
	if err := p.Signal(signal); err != nil {
		return fault.New(409, "not_running", "the process has ended")
	}
	return x.JSON(200, struct{}{})
}

func (a *API) waitProcess(x *http1.Exchange, values []string) error {
	p, err := a.processes.Get(values[0])
	if err != nil {
		return err
	}
	timeout := longestWait
	if text := x.Query.Get("timeout"); text != "" {
		seconds, err := strconv.ParseFloat(text, 64)
		if err != nil || !(seconds >= 0) {
			return fault.BadRequest("no such time: %q", text)
		}
		timeout = min(time.Duration(min(seconds, 60)*float64(time.Second)), longestWait)
	}
	p.Wait(x.Watch(), timeout)
	return x.JSON(200, p.Item())
}
