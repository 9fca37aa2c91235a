package modes

import "bytes"

const (
	// apart is how far it is from one point to the next, or twice as far where there are no lines.
	apart = 12 << 10
	// mostBehind is how much is drawn at most of what lies behind the alternate screen.
	mostBehind = 32 << 10
	// mostPoints reach back as far as a present screen does.
	mostPoints = 6
)

// point is a place in the output from which it can be drawn: the state of the terminal before that byte.
type point struct {
	at     int64
	screen screen
}

// points are the places where the present screen may be said to begin.
type points struct {
	cleared point // where all of the screen was cleared last; at -1 where none is known
	behind  point // where that begins which lies behind the alternate screen
	kept    []point
	last    int64
}

// pass is text without any sequence that begins at this offset.
func (p *points) pass(plain []byte, at int64, now *screen) {
	for next := p.next(plain, at); next >= 0; next = p.next(plain, at) {
		p.keep(at+next, now)
		plain, at = plain[next:], at+next
	}
}

// next is where in the text a point is due, -1 where none is.
func (p *points) next(plain []byte, at int64) int64 {
	due := p.last + apart - at
	if due >= int64(len(plain)) {
		return -1
	}
	if next := bytes.IndexByte(plain[max(due, 0):], '\n'); next >= 0 {
		return max(due, 0) + int64(next) + 1
	}
	// No lines: the next character will do.
	for i := max(due+apart, 0); i < int64(len(plain)); i++ {
		if b := plain[i]; b < 0x80 || b >= 0xc0 {
			return i
		}
	}
	return -1
}

func (p *points) keep(at int64, now *screen) {
	if len(p.kept) == mostPoints {
		copy(p.kept, p.kept[1:])
		p.kept = p.kept[:mostPoints-1]
	}
	p.kept = append(p.kept, point{at, *now})
	p.last = at
}

func (p *points) resized() {
	p.cleared.screen.margins, p.behind.screen.margins = margins{}, margins{}
	for i := range p.kept {
		p.kept[i].screen.margins = margins{}
	}
}

// Screen is where the present screen begins in the output, of which what lies before `oldest` is lost and at most `most`
// bytes are wanted; and what brings a terminal of unknown state to that point, its screen empty.
func (t *Tracker) Screen(oldest, most int64) (int64, []byte) {
	from := max(oldest, t.end-most)
	begin := t.points.behind
	if !t.Alternate() || begin.at < from {
		begin = t.start(from)
	}
	return begin.at, begin.screen.restore()
}

// start is where to begin at this offset or behind it.
func (t *Tracker) start(from int64) point {
	if t.points.cleared.at >= from {
		return t.points.cleared
	}
	if from <= 0 {
		first := point{0, t.now}
		first.screen.reset()
		return first
	}
	for _, kept := range t.points.kept {
		if kept.at >= from {
			return kept
		}
	}
	return point{t.end, t.now}
}
