package api

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"rexec-guest/internal/frames"
)

// screen collects the numbered output of one attachment and checks that it has no holes.
type screen struct {
	*stream
	ready   object
	next    int64
	text    []byte
	restore []byte
	lagged  object
}

func (s *server) attach(name string, wanted object) *screen {
	s.t.Helper()
	wanted["type"] = "attach"
	st := s.upgrade("/v1/terminals/"+name+"/attach", wanted)
	_, _, ready := st.next()
	if ready["type"] != "ready" {
		s.t.Fatalf("%v", ready)
	}
	return &screen{stream: st, ready: ready, next: int64(ready["offset"].(float64))}
}

// step takes one frame; it says whether there was one.
func (sc *screen) step(acknowledge bool) bool {
	sc.t.Helper()
	kind, payload, message := sc.stream.next()
	switch {
	case kind == 0:
		return false
	case kind == frames.Output:
		offset := int64(binary.BigEndian.Uint64(payload))
		if offset != sc.next {
			sc.t.Fatalf("output at %d, expected %d", offset, sc.next)
		}
		sc.text = append(sc.text, payload[8:]...)
		sc.next += int64(len(payload) - 8)
		if acknowledge {
			_ = sc.out.Control(object{"type": "ack", "offset": sc.next})
		}
	case message["type"] == "restore":
		_, payload, _ := sc.stream.next()
		if len(payload)-8 != int(message["length"].(float64)) {
			sc.t.Fatal("the length of the restoration is another")
		}
		sc.restore = payload[8:]
	case message["type"] == "lagged":
		sc.lagged = message
		sc.next = int64(message["to"].(float64))
		sc.text = nil
	}
	return true
}

func (sc *screen) until(text string) {
	sc.t.Helper()
	for !bytes.Contains(sc.text, []byte(text)) {
		if !sc.step(true) {
			sc.t.Fatalf("the end came before %q", text)
		}
	}
}

func TestATerminal(t *testing.T) {
	s := serve(t)
	a := s.attach("main", object{"cols": 100, "rows": 30, "env": object{"PS1": "$ ", "WORD": "sesame"}})
	if a.ready["created"] != true || a.ready["resumed"] != false || a.ready["cols"] != 100.0 {
		t.Errorf("%v", a.ready)
	}
	a.input("echo open $WORD; stty size\n")
	a.until("open sesame")
	a.until("30 100")
	b := s.attach("main", object{"cols": 80, "rows": 40})
	if b.ready["created"] != false || b.ready["epoch"] != a.ready["epoch"] || b.ready["cols"] != 80.0 || b.ready["rows"] != 30.0 {
		t.Errorf("%v", b.ready)
	}
	b.until("30 100")
	if size := a.expect("resized"); size["cols"] != 80.0 || size["rows"] != 30.0 {
		t.Errorf("%v", size)
	}
	v := s.attach("main", object{"cols": 10, "rows": 10, "role": "viewer"})
	v.input("x")
	if refusal := v.expect("error"); refusal["code"] != "viewer" {
		t.Errorf("%v", refusal)
	}
	a.input("exit 5\n")
	if end := b.expect("exit"); end["code"] != 5.0 || end["reason"] != "exited" {
		t.Errorf("%v", end)
	}
	again := s.attach("main", object{"epoch": a.ready["epoch"], "since": 0})
	if again.ready["resumed"] != true {
		t.Errorf("%v", again.ready)
	}
	for again.step(true) {
	}
	if !strings.Contains(string(again.text), "exit 5") {
		t.Errorf("%q", again.text)
	}
	if c := s.attach("main", object{}); c.ready["created"] != true || c.ready["epoch"] == a.ready["epoch"] {
		t.Errorf("%v", c.ready)
	}
}

// TestResume cuts the connection at random places of a flood: what is seen in the end is what was written.
func TestResume(t *testing.T) {
	s := serve(t)
	random := rand.New(rand.NewSource(7))
	a := s.attach("main", object{"env": object{"PS1": ""}})
	a.input("stty -echo -onlcr; echo READY\n")
	a.until("READY\n")
	var want bytes.Buffer
	for i := 1; i <= 60_000; i++ {
		fmt.Fprintf(&want, "%d\n", i)
	}
	from := a.next
	a.input("i=1; while [ $i -le 60 ]; do seq $((i*1000-999)) $((i*1000)); i=$((i+1)); done; exec sleep 300\n")
	seen := []byte{}
	cuts := 0
	over := func() bool { return bytes.Contains(seen, []byte("\n60000\n")) }
	for !over() {
		steps := random.Intn(20)
		for range steps {
			if over() {
				break
			}
			before := len(a.text)
			a.step(random.Intn(4) > 0)
			seen = append(seen, a.text[before:]...)
		}
		_ = a.conn.Close()
		epoch := a.ready["epoch"]
		a = s.attach("main", object{"epoch": epoch, "since": from + int64(len(seen))})
		if a.ready["resumed"] != true {
			t.Fatalf("not resumed: %v", a.ready)
		}
		cuts++
	}
	// Behind it bash may say more.
	got := seen[bytes.Index(seen, []byte("1\n2\n")):]
	if !bytes.HasPrefix(got, want.Bytes()) {
		t.Errorf("%d bytes seen, %d written, %d cuts", len(got), want.Len(), cuts)
	}
}

func TestASleepingEditorIsWaitedForAWhile(t *testing.T) {
	s := serve(t)
	sleeping := s.attach("main", object{"env": object{"PS1": ""}})
	awake := s.attach("main", object{})
	began := time.Now()
	awake.input("stty -echo; head -c 4000000 /dev/zero | tr '\\0' y; echo; echo DO''NE\n")
	awake.until("DONE")
	if took := time.Since(began); took < 4*time.Second || took > 60*time.Second {
		t.Errorf("it took %s", took)
	}
	for sleeping.next < 400_000 {
		sleeping.step(false)
	}
	for sleeping.lagged == nil {
		sleeping.step(true)
	}
	sleeping.until("DONE")
	if len(sleeping.restore) == 0 {
		t.Error("no modes were restored")
	}
}

func TestNobodyWatches(t *testing.T) {
	s := serve(t)
	a := s.attach("main", object{"env": object{"PS1": ""}})
	a.input("stty -echo; sleep 0.2; head -c 5000000 /dev/zero | tr '\\0' y; echo; echo DO''NE; sleep 300\n")
	_ = a.conn.Close()
	await(t, "the flood to pass", func() bool {
		list := s.call("GET", "/v1/terminals", nil).json(t)["terminals"].([]any)
		return list[0].(object)["offset"].(float64) > 5_000_000
	})
	b := s.attach("main", object{"epoch": a.ready["epoch"], "since": 100})
	if b.ready["resumed"] != false {
		t.Errorf("%v", b.ready)
	}
	b.until("DONE")
	if b.lagged == nil || b.lagged["from"] != 100.0 {
		t.Errorf("%v", b.lagged)
	}
}

func TestAFullScreenProgram(t *testing.T) {
	s := serve(t)
	a := s.attach("main", object{"env": object{"PS1": ""}, "cols": 80, "rows": 24})
	script := filepath.Join(t.TempDir(), "editor")
	program := "trap 'printf \"\\033[2J\\033[HSIZE \"; stty size' WINCH; seq 30000\n" +
		"printf '\\033[?1049h\\033[?25l\\033[?1000h\\033]2;editor\\007SCREEN'; while :; do sleep 0.02; done\n"
	if err := os.WriteFile(script, []byte(program), 0o644); err != nil {
		t.Fatal(err)
	}
	a.input("sh " + script + "\n")
	a.until("SCREEN")
	b := s.attach("main", object{"cols": 80, "rows": 24})
	b.until("SIZE 24 80")
	restored := string(b.restore) + string(b.text)
	for _, want := range []string{"\x1b[?1049h", "\x1b[?25l", "\x1b[?1000h", "\x1b]2;editor\x07"} {
		if !strings.Contains(restored, want) {
			t.Errorf("%q is not in %q", want, restored)
		}
	}
	if !strings.Contains(restored, "29999") || strings.Contains(restored, "\n20000\r") {
		t.Error("what lies behind the alternate screen was not sent, or too much of it")
	}
}

func TestTheTable(t *testing.T) {
	s := serve(t)
	s.attach("main", object{})
	if second := s.attach("main", object{"new": true}); second.ready["terminal"] != "main-2" {
		t.Errorf("%v", second.ready)
	}
	refused := s.upgrade("/v1/terminals/third/attach", object{"type": "attach", "max_terminals": 2})
	if problem := refused.expect("error"); problem["code"] != "too_many_terminals" {
		t.Errorf("%v", problem)
	}
	absent := s.upgrade("/v1/terminals/third/attach", object{"type": "attach", "create": false})
	if problem := absent.expect("error"); problem["code"] != "not_found" {
		t.Errorf("%v", problem)
	}
	stubborn := s.attach("third", object{"env": object{"PS1": ""}})
	stubborn.input("trap '' HUP TERM; echo STAYS; sleep 300\n")
	stubborn.until("STAYS\r\n")
	if a := s.call("DELETE", "/v1/terminals/third", nil); a.status != 200 {
		t.Errorf("%d %s", a.status, a.body)
	}
	if end := stubborn.expect("exit"); end["reason"] != "closed" {
		t.Errorf("%v", end)
	}
	if a := s.call("DELETE", "/v1/terminals/nobody", nil); a.status != 404 {
		t.Errorf("%d %s", a.status, a.body)
	}
}

// TestAPaste is longer than all that waits between the ends: what the shell says meanwhile is not held up by it.
func TestAPaste(t *testing.T) {
	s := serve(t)
	a := s.attach("main", object{"env": object{"PS1": ""}})
	a.input("stty raw -echo; echo READY; head -c 7864320 | tee /dev/null; echo DONE; sleep 300\n")
	a.until("READY\n")
	from := len(a.text)
	line := []byte(strings.Repeat("0123456789abcde\n", 2048))
	var drawn atomic.Int64
	go func() {
		for sent := 0; a.out.Control(object{"type": "ack", "offset": drawn.Load()}) == nil; sent += 8 * len(line) {
			if sent >= 7_864_320 {
				time.Sleep(time.Millisecond)
				continue
			}
			for range 8 {
				_ = a.out.Send(frames.Input, line)
			}
		}
	}()
	for !bytes.HasSuffix(a.text, []byte("DONE\n")) && a.step(false) {
		drawn.Store(a.next)
	}
	if a.lagged != nil || len(a.text)-from < 7_864_320 {
		t.Errorf("%d bytes came back, %v", len(a.text)-from, a.lagged)
	}
}

func TestASilentTerminalThatNobodyWatchesEnds(t *testing.T) {
	s := serve(t)
	a := s.attach("silent", object{"idle_seconds": 1})
	busy := s.attach("busy", object{"idle_seconds": 4})
	busy.input("while sleep 0.1; do echo tick; done\n")
	busy.until("tick\r\n")
	watched := s.attach("watched", object{"idle_seconds": 1})
	_, _ = a.conn.Close(), busy.conn.Close()
	left := time.Now()
	await(t, "the end of the silent one", func() bool {
		silent := false
		for _, item := range s.call("GET", "/v1/terminals", nil).json(t)["terminals"].([]any) {
			exited, ended := item.(object)["exited"].(object)
			if ended && (item.(object)["name"] != "silent" || exited["reason"] != "idle") {
				t.Fatalf("%v", item)
			}
			silent = silent || ended
		}
		return silent && time.Since(left) > 5*time.Second
	})
	watched.input("echo he''re\n")
	watched.until("here")
}

// TestASlowProgramIsRedrawn: a program that looks at its size late must still find that it has changed.
func TestASlowProgramIsRedrawn(t *testing.T) {
	s := serve(t)
	a := s.attach("main", object{"env": object{"PS1": ""}, "cols": 80, "rows": 24})
	script := filepath.Join(t.TempDir(), "slow")
	program := "printf '\\033[?1049hSCREEN'; was=; while sleep 0.4; do is=$(stty size)\n" +
		"if [ \"$is\" != \"$was\" ]; then was=$is; echo \"DRAWN $is\"; fi; done\n"
	if err := os.WriteFile(script, []byte(program), 0o644); err != nil {
		t.Fatal(err)
	}
	a.input("sh " + script + "\n")
	a.until("DRAWN 24 80")
	b := s.attach("main", object{"cols": 80, "rows": 24})
	b.until("DRAWN 23 80")
	b.until("DRAWN 24 80")
}
