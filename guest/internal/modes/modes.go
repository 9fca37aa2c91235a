// Package modes follows the state of a terminal through its output, as far as someone who joins late must be told of it.
package modes

import (
	"bytes"
	"strconv"
	"strings"
)

const (
	maxParameters = 64
	maxTitle      = 512
)

type state byte

const (
	ground state = iota
	escape
	intermediate
	csi
	osc
	oscEscape
	text // DCS, SOS, PM, APC: skipped to their end
	textEscape
)

// tracked are the private modes that are restored, with their values in a terminal just switched on.
var tracked = []struct {
	number  int
	initial bool
}{
	{1, false}, {7, true}, {12, false}, {25, true}, {9, false}, {1000, false}, {1001, false},
	{1002, false}, {1003, false}, {1004, false}, {1005, false}, {1006, false}, {1015, false}, {1016, false},
	{2004, false},
}

// Tracker is fed the output; it is not safe for use from several goroutines at once.
type Tracker struct {
	state     state
	collected []byte
	set       map[int]bool
	alternate int // the mode that switched the alternate screen on, 0 while it is off
	keypad    bool
	title     string
	clear     int64
}

// New is a terminal just switched on.
func New() *Tracker { return &Tracker{clear: -1} }

// Alternate tells whether the alternate screen is on.
func (t *Tracker) Alternate() bool { return t.alternate != 0 }

// Cleared is the offset behind the last clearing of the whole present screen, -1 where none is known.
func (t *Tracker) Cleared() int64 { return t.clear }

// Feed takes output whose first byte has this offset.
func (t *Tracker) Feed(data []byte, offset int64) {
	for i := 0; i < len(data); i++ {
		if t.state == ground {
			next := bytes.IndexByte(data[i:], 0x1b)
			if next < 0 {
				return
			}
			i += next
			t.state = escape
			continue
		}
		t.step(data[i], offset+int64(i)+1)
	}
}

func (t *Tracker) step(b byte, after int64) {
	switch t.state {
	case escape:
		t.escape(b, after)
	case intermediate:
		if b < 0x20 || b > 0x2f {
			t.state = ground
		}
	case csi:
		t.csi(b, after)
	case osc:
		t.osc(b)
	case oscEscape:
		t.finishOSC()
		t.state = escape
		if b == '\\' {
			t.state = ground
			return
		}
		t.escape(b, after)
	case text:
		switch b {
		case 0x1b:
			t.state = textEscape
		case 0x18, 0x1a, 0x07:
			t.state = ground
		}
	case textEscape:
		t.state = text
		if b == '\\' {
			t.state = ground
		}
	}
}

func (t *Tracker) escape(b byte, after int64) {
	t.collected = t.collected[:0]
	t.state = ground
	switch b {
	case '[':
		t.state = csi
	case ']':
		t.state = osc
	case 'P', 'X', '^', '_':
		t.state = text
	case 0x1b:
		t.state = escape
	case '=':
		t.keypad = true
	case '>':
		t.keypad = false
	case 'c':
		*t = Tracker{clear: after}
	default:
		if b >= 0x20 && b <= 0x2f {
			t.state = intermediate
		}
	}
}

func (t *Tracker) csi(b byte, after int64) {
	switch {
	case b == 0x1b:
		t.state = escape
	case b == 0x18 || b == 0x1a:
		t.state = ground
	case b < 0x20:
		// Control characters act in the middle of a sequence without ending it.
	case b >= 0x40 && b <= 0x7e:
		t.state = ground
		if len(t.collected) <= maxParameters {
			t.final(b, string(t.collected), after)
		}
	case len(t.collected) <= maxParameters:
		t.collected = append(t.collected, b)
	}
}

func (t *Tracker) final(b byte, parameters string, after int64) {
	switch {
	case (b == 'h' || b == 'l') && strings.HasPrefix(parameters, "?"):
		for part := range strings.SplitSeq(parameters[1:], ";") {
			if number, err := strconv.Atoi(part); err == nil {
				t.private(number, b == 'h', after)
			}
		}
	case b == 'J' && (parameters == "2" || parameters == "3"):
		t.clear = after
	case b == 'p' && parameters == "!":
		t.keypad = false
		delete(t.set, 1)
		delete(t.set, 25)
	}
}

func (t *Tracker) private(number int, on bool, after int64) {
	if number == 47 || number == 1047 || number == 1049 {
		if on && t.alternate == 0 {
			t.alternate, t.clear = number, after
		} else if !on && t.alternate != 0 {
			t.alternate, t.clear = 0, -1
		}
		return
	}
	if number == 66 {
		t.keypad = on
		return
	}
	for _, mode := range tracked {
		if mode.number != number {
			continue
		}
		if t.set == nil {
			t.set = map[int]bool{}
		}
		t.set[number] = on
	}
}

func (t *Tracker) osc(b byte) {
	switch {
	case b == 0x07:
		t.finishOSC()
		t.state = ground
	case b == 0x1b:
		t.state = oscEscape
	case b == 0x18 || b == 0x1a:
		t.state = ground
	case len(t.collected) <= maxTitle:
		t.collected = append(t.collected, b)
	}
}

func (t *Tracker) finishOSC() {
	kind, value, ok := bytes.Cut(t.collected, []byte{';'})
	if !ok || len(t.collected) > maxTitle {
		return
	}
	if name := string(kind); name == "0" || name == "2" {
		t.title = strings.Map(func(r rune) rune {
			if r < 0x20 || (r >= 0x7f && r < 0xa0) {
				return -1
			}
			return r
		}, strings.ToValidUTF8(string(value), "\uFFFD"))
	}
}

// Restore is what brings a screen of unknown state to this one's modes, empty, the cursor at home.
func (t *Tracker) Restore() []byte {
	var out bytes.Buffer
	out.WriteString("\x1b[!p\x1b[0m")
	if t.alternate != 0 {
		out.WriteString("\x1b[?" + strconv.Itoa(t.alternate) + "h")
	} else {
		out.WriteString("\x1b[?1049l")
	}
	for _, mode := range tracked {
		on, known := t.set[mode.number]
		if !known {
			on = mode.initial
		}
		final := "l"
		if on {
			final = "h"
		}
		out.WriteString("\x1b[?" + strconv.Itoa(mode.number) + final)
	}
	if t.keypad {
		out.WriteString("\x1b=")
	} else {
		out.WriteString("\x1b>")
	}
	if t.title != "" {
		out.WriteString("\x1b]2;" + t.title + "\x07")
	}
	out.WriteString("\x1b[H\x1b[2J")
	return out.Bytes()
}
