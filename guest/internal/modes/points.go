package modes

import "bytes"

const (
	// apart is how far it is from one point to the next, or twice as far where there are no lines.
	apart = 12 << 10
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
	kept    []point
	last    int64
}

// pass is text without any sequence that begins at this offset.
func (p *points) pass(plain []byte, at int64, now *screen) {
	due := p.last + apart - at
	if due >= int64(len(plain)) {
		return
	}
	from := max(due, 0)
	if next := bytes.IndexByte(plain[from:], '\n'); next >= 0 {
		p.keep(at+from+int64(next)+1, now)
		return
	}
	// No lines: the next character will do.
	for i := max(due+apart, 0); i < int64(len(plain)); i++ {
		if b := plain[i]; b < 0x80 || b >= 0xc0 {
			p.keep(at+i, now)
			return
		}
	}
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
	p.cleared.screen.margins = margins{}
	for i := range p.kept {
		p.kept[i].screen.margins = margins{}
	}
}

// Screen is where the present screen begins in the output, of which what lies before `oldest` is lost and at most `most`
// bytes are wanted; and what brings a terminal of unknown state to that point, its screen empty.
func (t *Tracker) Screen(oldest, most int64) (int64, []byte) {
	from := max(oldest, t.end-most)
	if cleared := &t.points.cleared; cleared.at >= from {
		return cleared.at, cleared.screen.restore()
	}
	if from == 0 {
		first := t.now
		first.reset()
		return 0, first.restore()
	}
	for i := range t.points.kept {
		if p := &t.points.kept[i]; p.at >= from {
			return p.at, p.screen.restore()
		}
	}
	return t.end, t.now.restore()
}
