package modes

import (
	"strconv"
	"strings"
)

const (
	shiftOut, shiftIn = 0x0e, 0x0f
	// places are the bytes that give a character set to one of G0 to G3.
	places = "()*+"
)

// looks are how characters look: each a parameter of `SGR`, "" where it is off.
const (
	none = iota
	bold
	faint
	italic
	underline
	blink
	inverse
	conceal
	strike
	overline
	foreground
	background
	line // the underline's colour
	looks
)

// pen is how characters are drawn: what is saved and restored with the cursor.
type pen struct {
	look  [looks]string
	sets  [len(places)]byte // 0 is ASCII
	shift byte              // the last one; 0 is shift-in
}

// begins and ends are what one number does to the looks.
var (
	begins = [108]int{
		1: bold, 2: faint, 3: italic, 4: underline, 21: underline, 5: blink, 6: blink, 7: inverse, 8: conceal, 9: strike,
		53: overline, 38: foreground, 48: background, 58: line,
	}
	ends = map[int][]int{
		22: {bold, faint}, 23: {italic}, 24: {underline}, 25: {blink}, 27: {inverse}, 28: {conceal}, 29: {strike},
		55: {overline}, 39: {foreground}, 49: {background}, 59: {line},
	}
)

func init() {
	for colour := range 8 {
		begins[30+colour], begins[90+colour] = foreground, foreground
		begins[40+colour], begins[100+colour] = background, background
	}
}

const longestLook = 32

// draw is `SGR`.
func (p *pen) draw(parameters string) {
	for more := true; more; {
		var part string
		part, _, more = strings.Cut(parameters, ";")
		number, colon, hasColon := strings.Cut(part, ":")
		code, err := strconv.Atoi(number)
		switch {
		case number != "" && err != nil:
			return
		case code == 0:
			p.look = [looks]string{}
		case code == 4 && hasColon && colon == "0":
			p.look[underline] = ""
		default:
			if !hasColon && (code == 38 || code == 48 || code == 58) {
				part = colour(parameters)
				more = len(part) < len(parameters)
			}
			p.set(code, part)
		}
		parameters = parameters[min(len(part)+1, len(parameters)):]
	}
}

// colour is as many of the parameters as name one: `38;5;n` or `38;2;r;g;b`.
func colour(parameters string) string {
	_, behind, _ := strings.Cut(parameters, ";")
	left := 3
	if strings.HasPrefix(behind, "2;") {
		left = 5
	}
	for i := range len(parameters) {
		if parameters[i] == ';' {
			left--
		}
		if left == 0 {
			return parameters[:i]
		}
	}
	return parameters
}

func (p *pen) set(code int, whole string) {
	if code >= 0 && code < len(begins) && begins[code] != none {
		if len(whole) <= longestLook {
			p.look[begins[code]] = whole
		}
		return
	}
	for _, look := range ends[code] {
		p.look[look] = ""
	}
}

// rare tells whether it uses the places that hardly any program does, and not every terminal knows.
func (p *pen) rare() bool { return p.sets[2] != 0 || p.sets[3] != 0 }

// write makes a terminal draw so, whatever it did before.
func (p *pen) write(out *strings.Builder, rare bool) {
	out.WriteString("\x1b[0")
	for _, look := range p.look {
		if look != "" {
			out.WriteString(";" + look)
		}
	}
	out.WriteByte('m')
	for i, set := range p.sets {
		switch {
		case set != 0:
			out.WriteString("\x1b" + places[i:i+1] + string(rune(set)))
		case i < 2 || rare:
			out.WriteString("\x1b" + places[i:i+1] + "B")
		}
	}
	switch p.shift {
	case 0, shiftIn:
		out.WriteByte(shiftIn)
	case shiftOut:
		out.WriteByte(shiftOut)
	default:
		out.WriteString("\x1b" + string(rune(p.shift)))
	}
}
