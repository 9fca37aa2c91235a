package api

import (
	"encoding/base64"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"rexec-guest/internal/frames"
)

type object = map[string]any

func (s *server) exec(request object) object {
	s.t.Helper()
	if _, known := request["timeout_ms"]; !known {
		request["timeout_ms"] = 10_000
	}
	a := s.post("/v1/exec", request)
	if a.status != 200 {
		s.t.Fatalf("%d %s", a.status, a.body)
	}
	result := a.json(s.t)
	for _, stream := range []string{"stdout", "stderr"} {
		bytes, err := base64.StdEncoding.DecodeString(result[stream].(string))
		if err != nil {
			s.t.Fatal(err)
		}
		result[stream] = string(bytes)
	}
	return result
}

func TestHello(t *testing.T) {
	s := serve(t)
	a := s.call("GET", "/v1/hello", nil)
	if hello := a.json(t); a.status != 200 || hello["protocol"] != 1.0 || hello["boot"] == "" || hello["version"] != "test" {
		t.Errorf("%s", a.body)
	}
	if a := s.call("GET", "/v1/nothing", nil); a.status != 404 || a.code(t) != "not_found" {
		t.Errorf("%d %s", a.status, a.body)
	}
	if a := s.call("PATCH", "/v1/hello", nil); a.status != 405 {
		t.Errorf("%d %s", a.status, a.body)
	}
	conn := s.conn()
	_, _ = conn.Write([]byte("GET /v1/hello HTTP/1.1\r\nRexec-Protocol: 7\r\n\r\n"))
	buffer := make([]byte, 4096)
	count, _ := conn.Read(buffer)
	if text := string(buffer[:count]); !strings.Contains(text, " 400 ") || !strings.Contains(text, `"supported":[1]`) {
		t.Errorf("%q", text)
	}
}

func TestIdleConnections(t *testing.T) {
	s := serve(t)
	held := []*stream{}
	for range 30 {
		held = append(held, s.upgrade("/v1/exec/stream", object{"type": "start", "argv": []string{"sleep", "100"}, "timeout_ms": 60_000}))
	}
	for _, st := range held {
		st.expect("started")
	}
	if a := s.call("GET", "/v1/hello", nil); a.status != 200 {
		t.Errorf("%d", a.status)
	}
}

func TestExec(t *testing.T) {
	s := serve(t)
	r := s.exec(object{"argv": []string{"sh", "-c", "cat; echo $A >&2; pwd; exit 3"}, "env": object{"A": "b c"}, "cwd": "/usr",
		"stdin": base64.StdEncoding.EncodeToString([]byte("in\n"))})
	if r["exit_code"] != 3.0 || r["stdout"] != "in\n/usr\n" || r["stderr"] != "b c\n" || r["reason"] != "exited" || r["truncated"] != false {
		t.Errorf("%v", r)
	}
	r = s.exec(object{"argv": []string{"sh", "-c", "head -c 300000 /dev/zero; kill -9 $$"}, "max_output": 1000})
	if r["exit_code"] != 137.0 || r["reason"] != "signaled" || len(r["stdout"].(string)) != 1000 || r["truncated"] != true {
		t.Errorf("%v %v", r["exit_code"], r["reason"])
	}
	r = s.exec(object{"argv": []string{"sh", "-c", "head -c 300000 /dev/zero"}, "max_output": 300_000})
	if len(r["stdout"].(string)) != 300_000 || r["truncated"] != false {
		t.Errorf("%d %v", len(r["stdout"].(string)), r["truncated"])
	}
	refusals := map[string]object{
		"no_such_command":   {"argv": []string{"surely-not-there"}},
		"no_such_directory": {"argv": []string{"true"}, "cwd": "/surely/not"},
		"no_such_user":      {"argv": []string{"true"}, "user": "surely-not"},
		"bad_request":       {"argv": []string{}},
		"permission_denied": {"argv": []string{"/etc/passwd"}},
	}
	for code, request := range refusals {
		if a := s.post("/v1/exec", request); a.status < 400 || a.code(t) != code {
			t.Errorf("%s: %d %s", code, a.status, a.body)
		}
	}
}

func TestAScriptWithoutShebang(t *testing.T) {
	s := serve(t)
	script := filepath.Join(t.TempDir(), "script")
	if err := os.WriteFile(script, []byte("echo ran $1\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	if r := s.exec(object{"argv": []string{script, "x"}}); r["stdout"] != "ran x\n" {
		t.Errorf("%v", r)
	}
}

func TestATimeoutKillsTheTree(t *testing.T) {
	s := serve(t)
	began := time.Now()
	r := s.exec(object{"argv": []string{"sh", "-c", "echo begun; (setsid sh -c 'echo $$; exec sleep 300' &); sleep 300"}, "timeout_ms": 500})
	if r["timed_out"] != true || r["exit_code"] != -1.0 || r["reason"] != "timed_out" || time.Since(began) > 60*time.Second {
		t.Errorf("%v", r)
	}
	lines := strings.Fields(r["stdout"].(string))
	if len(lines) != 2 || lines[0] != "begun" {
		t.Fatalf("%v", lines)
	}
	if _, err := os.Stat("/proc/" + lines[1]); err == nil {
		t.Error("the daemon lives")
	}
}

func TestADaemonDoesNotHoldTheAnswer(t *testing.T) {
	s := serve(t)
	began := time.Now()
	r := s.exec(object{"argv": []string{"sh", "-c", "(sleep 0.4; echo late; echo $? >&2; exec sleep 300) & echo $!"}})
	if time.Since(began) > 60*time.Second || r["exit_code"] != 0.0 {
		t.Errorf("%v after %s", r, time.Since(began))
	}
	pid := strings.TrimSpace(r["stdout"].(string))
	await(t, "the daemon to survive its output", func() bool {
		out, err := os.ReadFile("/proc/" + pid + "/comm")
		return err == nil && strings.TrimSpace(string(out)) == "sleep"
	})
	if number, err := strconv.Atoi(pid); err == nil {
		_ = syscall.Kill(number, syscall.SIGKILL)
	}
}

func TestLeavingKills(t *testing.T) {
	s := serve(t)
	marker := filepath.Join(t.TempDir(), "pid")
	conn := s.conn()
	body := `{"argv": ["sh", "-c", "echo $$ > ` + marker + `; sleep 300"], "timeout_ms": 60000}`
	_, _ = conn.Write([]byte("POST /v1/exec HTTP/1.1\r\nContent-Length: " + strconv.Itoa(len(body)) + "\r\n\r\n" + body))
	pid := awaitFile(t, marker)
	_ = conn.Close()
	await(t, "the command to die", func() bool {
		_, err := os.Stat("/proc/" + pid)
		return err != nil
	})
}

func awaitFile(t *testing.T, name string) string {
	t.Helper()
	text := ""
	await(t, name, func() bool {
		data, _ := os.ReadFile(name)
		text = strings.TrimSpace(string(data))
		return text != ""
	})
	return text
}

func await(t *testing.T, what string, ready func() bool) {
	t.Helper()
	for deadline := time.Now().Add(soon); !ready(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

func TestExecStream(t *testing.T) {
	s := serve(t)
	st := s.upgrade("/v1/exec/stream", object{"type": "start", "argv": []string{"sh", "-c", "cat; echo e >&2; exit 4"}})
	st.expect("started")
	st.input("hello")
	if err := st.out.Send(frames.End); err != nil {
		t.Fatal(err)
	}
	stdout, stderr := "", ""
	for {
		kind, payload, message := st.next()
		if kind == frames.Output {
			stdout += string(payload)
		} else if kind == frames.Stderr {
			stderr += string(payload)
		} else if message["type"] == "exit" {
			if message["exit_code"] != 4.0 || message["reason"] != "exited" {
				t.Errorf("%v", message)
			}
			break
		}
	}
	if kind, _, _ := st.next(); kind != 0 || stdout != "hello" || stderr != "e\n" {
		t.Errorf("%q %q %q", stdout, stderr, kind)
	}
}

func TestExecStreamSignalsAndResizes(t *testing.T) {
	s := serve(t)
	st := s.upgrade("/v1/exec/stream", object{"type": "start", "argv": []string{"sleep", "300"}})
	st.expect("started")
	st.control(object{"type": "signal", "signal": "INT"})
	if end := st.expect("exit"); end["exit_code"] != 130.0 || end["reason"] != "signaled" {
		t.Errorf("%v", end)
	}
	st = s.upgrade("/v1/exec/stream", object{"type": "start", "argv": []string{"sh", "-c", "trap 'stty size; exit' WINCH; stty size; while :; do sleep 0.05; done"},
		"tty": object{"cols": 90, "rows": 30}, "timeout_ms": 10_000})
	text := ""
	resized := false
	for {
		kind, payload, message := st.next()
		if kind == frames.Output {
			text += string(payload)
		}
		if strings.Contains(text, "30 90") && !resized {
			resized = true
			st.control(object{"type": "resize", "cols": 91, "rows": 31})
		}
		if message["type"] == "exit" {
			break
		}
	}
	if !strings.Contains(text, "31 91") {
		t.Errorf("%q", text)
	}
	st = s.upgrade("/v1/exec/stream", object{"type": "start", "argv": []string{"surely-not-there"}})
	if problem := st.expect("error"); problem["code"] != "no_such_command" {
		t.Errorf("%v", problem)
	}
}

func TestAStreamWithUnreadInputEndsWithItsServer(t *testing.T) {
	s := serve(t)
	st := s.upgrade("/v1/exec/stream", object{"type": "start", "argv": []string{"sleep", "300"}})
	pid := strconv.Itoa(int(st.expect("started")["pid"].(float64)))
	part := strings.Repeat("x", frames.Max)
	_ = st.conn.SetWriteDeadline(time.Now().Add(time.Second))
	for range 30 {
		if st.out.Send(frames.Input, []byte(part)) != nil {
			break
		}
	}
	_ = st.conn.Close()
	await(t, "the command to die", func() bool {
		_, err := os.Stat("/proc/" + pid)
		return err != nil
	})
}

func TestAProcessIsStartedOnceByItsID(t *testing.T) {
	s := serve(t)
	request := object{"argv": []string{"sleep", "300"}, "id": "chosen_1"}
	first := s.post("/v1/processes", request)
	again := s.post("/v1/processes", request)
	if first.status != 201 || first.json(t)["id"] != "chosen_1" || again.json(t)["pid"] != first.json(t)["pid"] {
		t.Errorf("%s %s", first.body, again.body)
	}
	if a := s.post("/v1/processes", object{"argv": []string{"true"}, "id": "../x"}); a.code(t) != "bad_request" {
		t.Errorf("%s", a.body)
	}
	s.call("DELETE", "/v1/processes/chosen_1", nil)
}

func TestProcesses(t *testing.T) {
	s := serve(t)
	a := s.post("/v1/processes", object{"argv": []string{"sh", "-c", "echo out; echo err >&2; sleep 300"}})
	if a.status != 201 {
		t.Fatalf("%d %s", a.status, a.body)
	}
	id := a.json(t)["id"].(string)
	await(t, "output", func() bool { return s.call("GET", "/v1/processes/"+id, nil).json(t)["stderr_offset"] == 4.0 })
	logs := s.call("GET", "/v1/processes/"+id+"/logs?offset=1", nil)
	if string(logs.body) != "ut\n" || logs.header["rexec-offset"] != "1" || logs.header["rexec-end"] != "4" {
		t.Errorf("%q %v", logs.body, logs.header)
	}
	if logs := s.call("GET", "/v1/processes/"+id+"/logs?stream=stderr", nil); string(logs.body) != "err\n" {
		t.Errorf("%q", logs.body)
	}
	if a := s.call("GET", "/v1/processes/"+id+"/wait?timeout=0.05", nil); a.json(t)["running"] != true {
		t.Errorf("%s", a.body)
	}
	if a := s.post("/v1/processes/"+id+"/signal", object{"signal": "SIGTERM"}); a.status != 200 {
		t.Errorf("%s", a.body)
	}
	if a := s.call("GET", "/v1/processes/"+id+"/wait?timeout=10", nil); a.json(t)["exit_code"] != 143.0 {
		t.Errorf("%s", a.body)
	}
	if a := s.post("/v1/processes/"+id+"/signal", object{"signal": 15}); a.status != 409 {
		t.Errorf("%s", a.body)
	}
	if a := s.call("DELETE", "/v1/processes/"+id, nil); a.status != 200 {
		t.Errorf("%s", a.body)
	}
	if a := s.call("GET", "/v1/processes/"+id, nil); a.status != 404 {
		t.Errorf("%s", a.body)
	}
}
