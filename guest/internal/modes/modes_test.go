package modes

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
)

func fed(parts ...string) *Tracker {
	t := New()
	offset := int64(0)
	for _, part := range parts {
		t.Feed([]byte(part), offset)
		offset += int64(len(part))
	}
	return t
}

func (t *Tracker) restored() string { return string(t.now.restore()) }

// states are what programs do, and what a late joiner's terminal must be told of it, in this order.
var states = []struct {
	name, output string
	want         []string
	without      string
}{
	{"modes", "\x1b[?1;2004h\x1b[?25l\x1b=", []string{"\x1b[?25l", "\x1b[?1h", "\x1b[?2004h", "\x1b="}, "\x1b[?25h"},
	{"one mouse", "\x1b[?1003;1000;1006h", []string{"\x1b[?1016l", "\x1b[?1000h", "\x1b[?1006h"}, "\x1b[?1003h"},
	{"no mouse", "\x1b[?1000;1006;1005h\x1b[?1002;1006l", []string{"\x1b[?1000l", "\x1b[?1005h"}, "\x1b[?1006h"},
	{"margins", "\x1b[3;20r", []string{"\x1b[3;20r"}, "\x1b[r"},
	{"no margins", "\x1b[3;20r\x1b[r", []string{"\x1b[r"}, "20r"},
	{"sides", "\x1b[?69h\x1b[5;70s", []string{"\x1b[?69h", "\x1b[5;70s"}, ""},
	{"origin", "\x1b[?6h\x1b[?7l", []string{"\x1b[?7l", "\x1b[?6h"}, ""},
	{"cursor", "\x1b[4 q", []string{"\x1b[4 q"}, "\x1b[0 q"},
	{"sets", "\x1b(0\x1b)A\x0e", []string{"\x1b(0", "\x1b)A", "\x0e"}, ""},
	{"more sets", "\x1b*0\x1bn", []string{"\x1b*0", "\x1bn"}, ""},
	{"shift in a sequence", "\x1b[\x0e1m", []string{"\x1b[0;1m", "\x0e"}, ""},
	{"looks", "\x1b[1;31;48;5;200;4:3;9m\x1b[29m", []string{"\x1b[0;1;4:3;31;48;5;200m"}, ""},
	{"colours", "\x1b[38;2;1;2;3;7m\x1b[48:2::9:8:7m", []string{"\x1b[0;7;38;2;1;2;3;48:2::9:8:7m"}, ""},
	{"no looks", "\x1b[1;2;3;95m\x1b[22;39m\x1b[4m\x1b[4:0m", []string{"\x1b[0;3m"}, ""},
	{"insert", "\x1b[4;20h", []string{"\x1b[4h", "\x1b[20h"}, "\x1b[4l"},
	{"saved", "\x1b[32m\x1b)0\x1b7\x1b[0m", []string{"\x1b[0;32m\x1b(B\x1b)0\x0f\x1b7", "\x1b[0m\x1b(B\x1b)0\x0f"}, ""},
	{"back", "\x1b[32m\x1b[s\x1b[0m\x1b[u", []string{"\x1b[0;32m\x1b(B\x1b)B\x0f\x1b7"}, ""},
	{"alternate", "\x1b[33m\x1b[?1049h\x1b[35m\x1b7\x1b[m", []string{"33m", "\x1b7", "\x1b[?1049h", "35m", "\x1b7"}, ""},
	{"left", "\x1b[33m\x1b[?1049h\x1b[35m\x1b[?1049l", []string{"\x1b[?1049l", "\x1b7", "\x1b[0;33m"}, "\x1b[?1049h"},
	{"title", "\x1b]0;first\x07\x1b[22;0;0t\x1b]2;a title\x1b\\", []string{"\x1b]2;first\x07\x1b[22;0t", "\x1b]2;a title\x07"}, ""},
	{"old title", "\x1b]0;first\x07\x1b[22t\x1b]2;second\x07\x1b[23t", []string{"\x1b]2;first\x07"}, "second"},
	{"colours of all", "\x1b]11;#102030\x07\x1b]10;red\x07\x1b]110\x07\x1b]12;?\x07", []string{"\x1b]110\x07", "\x1b]11;#102030\x07"}, "?\x07"},
	{"keys", "\x1b[>4;2m\x1b[>1;1m\x1b[>1m", []string{"\x1b[>m", "\x1b[>4;2m"}, "\x1b[>1;1m"},
	{"kitty", "\x1b[=4u\x1b[>1u\x1b[>2u\x1b[<u\x1b[=8;2u", []string{"\x1b[<8u", "\x1b[=4u", "\x1b[>9u"}, "\x1b[>2u"},
	{"two stacks", "\x1b[>1u\x1b[?1049h\x1b[>7u", []string{"\x1b[>1u", "\x1b[?1049h", "\x1b[>7u"}, ""},
	{"soft reset", "\x1b[3;9r\x1b[?1;6;2004h\x1b[31m\x1b(0\x1b[!p", []string{"\x1b[?1l", "\x1b[?6l", "\x1b[?2004h", "\x1b[r"}, "31"},
	{"reset", "\x1b[3;9r\x1b[?2004;2048h\x1b]2;x\x07\x1b[>5u\x1bc", []string{"\x1b[<8u", "\x1b[=0u", "\x1b[?2004l", "\x1b[?2048l"}, "]2;"},
	{"nothing", "only text\r\n", []string{"\x1b[!p", "\x1b[?1049l", "\x1b[?25h", "\x1b[r", "\x1b[0 q", "\x1b[0m"}, "\x1b[<"},
}

func TestWhatIsRestored(t *testing.T) {
	for _, c := range states {
		restored := fed(c.output).restored()
		rest := restored
		for _, want := range c.want {
			at := strings.Index(rest, want)
			if at < 0 {
				t.Errorf("%s: %q is not where it belongs in %q", c.name, want, restored)
				break
			}
			rest = rest[at+len(want):]
		}
		if c.without != "" && strings.Contains(restored[5:], c.without) {
			t.Errorf("%s: %q is in %q", c.name, c.without, restored)
		}
		if again := fed(restored).restored(); again != restored {
			t.Errorf("%s: %q becomes %q", c.name, restored, again)
		}
		// In whatever pieces it comes.
		for cut := range c.output {
			if split := fed(c.output[:cut], c.output[cut:]).restored(); split != restored {
				t.Errorf("%s: cut at %d: %q", c.name, cut, split)
			}
		}
	}
}

func TestIsNotFooled(t *testing.T) {
	nothing := New().restored()
	for _, noise := range []string{
		"\x1bP?1049h\x1b\\", "\x1b]52;c;[?1049h\x07", "\x1b[?1049\x18h", "\x1b[?1049$h", "[?1049h", "\x1b[?99999999999999999h",
		"\x1b[3;-1r", "\x1b[1;1$r", "\x1b(%5", "\x1b]2;" + strings.Repeat("x", 5000) + "\x07", "\x1b[?2026h", "\x1b_G\x0e\x1b\\",
		"\x1b[" + strings.Repeat("1;", 500) + "m", "\x1b[38;5", "\x1b[x;31m", "\x1b]11;?\x07", "\x1b]11;red;?\x07", "\x1b#8",
	} {
		if tracker := fed(noise); tracker.restored() != nothing || cap(tracker.collected) > 2048 {
			t.Errorf("%q became %q", noise, tracker.restored())
		}
	}
	if strings.Contains(fed("\x1b]2;a\nb\x9b5nc\x07").restored(), "\n") {
		t.Error("a control character in the title")
	}
	endless := fed(strings.Repeat("\x1b[>31u\x1b[22t\x1b]2;"+strings.Repeat("t", 500)+"\x07\x1b[38:"+strings.Repeat("5", 90)+"m", 500))
	if size := len(endless.restored()); size > 5000 {
		t.Errorf("%d bytes were kept", size)
	}
}

// TestThePresentScreen is said to begin where all was cleared, or at a line of which the state is known.
func TestThePresentScreen(t *testing.T) {
	at := func(tracker *Tracker, oldest, most int64) (int64, string) {
		from, restored := tracker.Screen(oldest, most)
		return from, string(restored)
	}
	text := strings.Repeat("x\n", 30_000) + "\x1b[31mtext "
	full := fed(text, "\x1b[?10", "49h\x1b[32m")
	entered := int64(len(text))
	if from, restored := at(full, 0, 64<<10); !full.Alternate() || entered-from > 32<<10 || entered-from < 8<<10 || strings.Contains(restored, "1049h") {
		t.Errorf("%d behind %q", entered-from, restored)
	}
	if from, restored := at(full, 0, 100); from != entered || !strings.Contains(restored, "\x1b[0;31m") {
		t.Errorf("%d %q", from, restored)
	}
	end := entered + 13
	full.Feed([]byte("\x1b[2Jlong enough"), end)
	if from, restored := at(full, 0, 20); from != end || !strings.HasSuffix(restored, "\x1b[0;32m\x1b(B\x1b)B\x0f") || !strings.Contains(restored, "1049h") {
		t.Errorf("%d %q", from, restored)
	}
	full.Feed([]byte("\x1b[?1049l"), end+15)
	if from, restored := at(full, 0, 1<<20); from != 0 || full.Alternate() || strings.Contains(restored, "31m") {
		t.Errorf("%d %q after leaving", from, restored)
	}
	long := New()
	var out []byte
	for i := range 20_000 {
		line := fmt.Sprintf("\x1b[%dm%d\n", 31+i%7, i)
		long.Feed([]byte(line), int64(len(out)))
		out = append(out, line...)
	}
	from, restored := at(long, 0, 64<<10)
	back := int64(len(out)) - from
	var before, now int
	if _, err := fmt.Sscanf(string(out[from-12:from]), "%d\n", &now); err != nil {
		_, _ = fmt.Sscanf(string(out[bytes.LastIndexByte(out[:from], 'm')+1:from]), "%d", &before)
	}
	if back > 64<<10 || back < 30<<10 || out[from-1] != '\n' || !strings.Contains(restored, fmt.Sprintf("\x1b[0;%dm", 31+before%7)) {
		t.Errorf("%d bytes back, behind line %d: %q", back, before, restored)
	}
	whole := New()
	whole.Feed(out[:from], 0)
	if whole.restored() != restored {
		t.Errorf("%q was the state, %q is restored", whole.restored(), restored)
	}
	long.Feed([]byte("\x1b[2;9r"+strings.Repeat("x\n", 10_000)), int64(len(out)))
	long.Resized()
	if _, restored := at(long, 0, 1<<10); strings.Contains(restored, "2;9r") {
		t.Error("margins outlived another size")
	}
}

// TestWithoutLines also never begins within a character.
func TestWithoutLines(t *testing.T) {
	tracker := New()
	piece := []byte(strings.Repeat("é", 1000))
	end := int64(0)
	for range 200 {
		tracker.Feed(piece[:1001], end)
		tracker.Feed(piece[1001:], end+1001)
		end += int64(len(piece))
	}
	if from, _ := tracker.Screen(0, 64<<10); from%2 != 0 || end-from > 64<<10 || end-from < 30<<10 {
		t.Errorf("it begins at %d of %d", from, end)
	}
}

func BenchmarkTracker(b *testing.B) {
	for name, text := range map[string]string{"plain": "some text that is not coloured\r\n", "coloured": "\x1b[1;32mok\x1b[0m some text\r\n"} {
		data := []byte(strings.Repeat(text, 1000))
		b.Run(name, func(b *testing.B) {
			tracker, at := New(), int64(0)
			b.SetBytes(int64(len(data)))
			for b.Loop() {
				tracker.Feed(data, at)
				at += int64(len(data))
			}
		})
	}
}

func FuzzTracker(f *testing.F) {
	f.Add([]byte("\x1b[?1049h\x1b]0;title\x07\x1bc\x1b[2J"), 3)
	for _, c := range states {
		f.Add([]byte(c.output), len(c.output)/2)
	}
	f.Fuzz(func(t *testing.T, data []byte, cut int) {
		whole := New()
		whole.Feed(data, 0)
		split := New()
		at := 0
		if len(data) > 0 {
			at = int(uint(cut) % uint(len(data)+1))
		}
		split.Feed(data[:at], 0)
		split.Feed(data[at:], int64(at))
		if whole.restored() != split.restored() || whole.points.cleared != split.points.cleared {
			t.Fatalf("cut at %d changes the state", at)
		}
		if again := fed(whole.restored()).restored(); again != whole.restored() {
			t.Fatalf("%q becomes %q", whole.restored(), again)
		}
	})
}
