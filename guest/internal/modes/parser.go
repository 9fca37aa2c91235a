// Package modes follows the state of a terminal through its output, as far as someone who joins late must be told of it.
package modes

import "bytes"

const (
	maxParameters = 160
	maxText       = 512
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

// Tracker is fed the output; it is not safe for use from several goroutines at once.
type Tracker struct {
	state     state
	collected []byte
	began     int64 // where the present sequence did
	end       int64
	now       screen
	points    points
}

// New is a terminal just switched on.
func New() *Tracker {
	t := &Tracker{points: points{cleared: point{at: -1}}}
	t.now.reset()
	return t
}

// Alternate tells whether the alternate screen is on.
func (t *Tracker) Alternate() bool { return t.now.alternate != 0 }

// Resized tells that the screen has another size: margins are gone then.
func (t *Tracker) Resized() {
	t.now.margins = margins{}
	t.points.resized()
}

// Feed takes output whose first byte has this offset.
func (t *Tracker) Feed(data []byte, offset int64) {
	shifts := bytes.IndexByte(data, shiftOut) >= 0 || bytes.IndexByte(data, shiftIn) >= 0
	for i := 0; i < len(data); {
		at := offset + int64(i)
		if t.state != ground {
			t.step(data[i], at)
			i++
			continue
		}
		plain := data[i:]
		if next := bytes.IndexByte(plain, 0x1b); next >= 0 {
			plain = plain[:next]
		}
		if shifts {
			if next := bytes.IndexAny(plain, "\x0e\x0f"); next >= 0 {
				plain = plain[:next]
			}
		}
		t.points.pass(plain, at, &t.now)
		i += len(plain)
		if i < len(data) {
			t.control(data[i], at+int64(len(plain)))
			i++
		}
	}
	t.end = offset + int64(len(data))
}

// control is a control character, as far as it concerns us.
func (t *Tracker) control(b byte, at int64) {
	switch b {
	case 0x1b:
		t.began, t.state = at, escape
	case shiftOut, shiftIn:
		t.now.pen.shift = b
	}
}

func (t *Tracker) step(b byte, at int64) {
	switch t.state {
	case escape:
		t.escape(b, at)
	case intermediate:
		t.intermediate(b, at)
	case csi:
		t.csi(b, at)
	case osc:
		t.osc(b, at)
	case oscEscape:
		t.now.command(t.collected)
		t.ended(b, at)
	case text:
		switch b {
		case 0x1b:
			t.state = textEscape
		case 0x18, 0x1a, 0x07:
			t.state = ground
		}
	case textEscape:
		t.ended(b, at)
	}
}

// ended is behind the escape that ends a string: a backslash, or the next sequence.
func (t *Tracker) ended(b byte, at int64) {
	t.state = ground
	if b != '\\' {
		t.began = at - 1
		t.escape(b, at)
	}
}

func (t *Tracker) escape(b byte, at int64) {
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
		t.began, t.state = at, escape
	case 'c':
		t.clear()
		t.now.reset()
	default:
		if b >= 0x20 && b <= 0x2f {
			t.collected = append(t.collected, b)
			t.state = intermediate
			return
		}
		t.now.escape(b)
	}
}

func (t *Tracker) intermediate(b byte, at int64) {
	switch {
	case b == 0x1b:
		t.began, t.state = at, escape
	case b >= 0x20 && b <= 0x2f:
		t.collected = append(t.collected[:1], '?') // of no known kind
	default:
		t.state = ground
		if len(t.collected) == 1 {
			t.now.designate(t.collected[0], b)
		}
	}
}

func (t *Tracker) csi(b byte, at int64) {
	switch {
	case b == 0x18 || b == 0x1a:
		t.state = ground
	case b < 0x20:
		// Control characters act in the middle of a sequence without ending it.
		t.control(b, at)
	case b >= 0x40 && b <= 0x7e:
		t.state = ground
		if len(t.collected) <= maxParameters {
			t.sequence(b)
		}
	case len(t.collected) <= maxParameters:
		t.collected = append(t.collected, b)
	}
}

// sequence acts on the state; where it clears all of the screen, that is where the present screen begins.
func (t *Tracker) sequence(final byte) {
	parameters := string(t.collected)
	if final == 'J' && (parameters == "2" || parameters == "3") {
		t.clear()
		return
	}
	if final != 'h' && final != 'l' {
		t.now.sequence(parameters, final)
		return
	}
	earlier := point{t.began, t.now}
	t.now.sequence(parameters, final)
	switch before, now := earlier.screen.alternate, t.now.alternate; {
	case before == 0 && now != 0:
		t.end = t.began
		t.points.behind = t.start(t.began - mostBehind)
		t.points.cleared = earlier
	case before != 0 && now == 0:
		t.points.cleared.at = -1
	}
}

func (t *Tracker) clear() { t.points.cleared = point{t.began, t.now} }

func (t *Tracker) osc(b byte, at int64) {
	switch {
	case b == 0x07:
		t.now.command(t.collected)
		t.state = ground
	case b == 0x1b:
		t.state = oscEscape
	case b == 0x18 || b == 0x1a:
		t.state = ground
	case len(t.collected) <= maxText:
		t.collected = append(t.collected, b)
	}
}
