package modes

import (
	"bytes"
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

func TestFollowsModes(t *testing.T) {
	tracker := fed("text \x1b[?10", "49h\x1b[?1;100", "0;1006h\x1b[?25l\x1b=\x1b]0;a titl", "e\x1b", "\\more")
	restored := string(tracker.Restore())
	for _, want := range []string{"\x1b[?1049h", "\x1b[?1h", "\x1b[?1000h", "\x1b[?1006h", "\x1b[?25l", "\x1b[?7h", "\x1b=", "\x1b]2;a title\x07"} {
		if !strings.Contains(restored, want) {
			t.Errorf("%q is not in %q", want, restored)
		}
	}
	if !tracker.Alternate() || tracker.Cleared() != int64(len("text \x1b[?1049h")) {
		t.Errorf("alternate %v, cleared at %d", tracker.Alternate(), tracker.Cleared())
	}
	tracker.Feed([]byte("\x1b[?1049l\x1b[?1000l\x1b>"), 100)
	restored = string(tracker.Restore())
	if tracker.Alternate() || !strings.Contains(restored, "\x1b[?1000l") || !strings.Contains(restored, "\x1b>") || tracker.Cleared() != -1 {
		t.Errorf("%q after leaving", restored)
	}
}

func TestIsNotFooled(t *testing.T) {
	for _, noise := range []string{"\x1bP?1049h\x1b\\", "\x1b]52;c;\x1b[?1049", "\x1b[?1049\x18h", "\x1b[?1049$h", "[?1049h"} {
		if fed(noise).Alternate() {
			t.Errorf("%q switched the screen", noise)
		}
	}
	long := "\x1b]2;" + strings.Repeat("x", 5000) + "\x07\x1b[?" + strings.Repeat("1049;", 500) + "h"
	if tracker := fed(long); len(tracker.Restore()) > 1000 || cap(tracker.collected) > 2048 {
		t.Error("something endless was kept")
	}
	if strings.Contains(string(fed("\x1b]2;a\nb\x9b5nc\x07").Restore()), "\n") {
		t.Error("a control character in the title")
	}
}

func FuzzTracker(f *testing.F) {
	f.Add([]byte("\x1b[?1049h\x1b]0;title\x07\x1bc\x1b[2J"), 3)
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
		if !bytes.Equal(whole.Restore(), split.Restore()) || whole.Cleared() != split.Cleared() {
			t.Fatalf("cut at %d changes the state", at)
		}
		again := New()
		again.Feed(whole.Restore(), 0)
		if whole.state == ground && !bytes.Equal(again.Restore(), whole.Restore()) {
			t.Fatalf("%q is not restored by %q", data, whole.Restore())
		}
	})
}
