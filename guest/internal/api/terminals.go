package api

import "rexec-guest/internal/http1"

func addTerminals(a *API) {
	a.add("GET", "/v1/terminals", (*API).listTerminals)
	a.add("DELETE", "/v1/terminals/*", (*API).closeTerminal)
	a.add("GET", "/v1/terminals/*/attach", (*API).attach)
}

func (a *API) listTerminals(x *http1.Exchange, _ []string) error {
	return x.JSON(200, map[string]any{"terminals": a.terminals.List()})
}

func (a *API) closeTerminal(x *http1.Exchange, values []string) error {
	if err := a.terminals.Close(values[0]); err != nil {
		return err
	}
	return x.JSON(200, struct{}{})
}

func (a *API) attach(x *http1.Exchange, values []string) error {
	conn, reader, err := x.Upgrade()
	if err != nil {
		return err
	}
	return a.terminals.Attach(values[0], conn, reader)
}
