package modes

import (
	"strconv"
	"strings"
)

// group is of modes of which at most one is on: setting one ends the others. Of the mouse, resetting any ends all.
type group byte

const (
	alone group = iota
	mouse
	coordinates
)

// private are the private modes that are restored. What `initial` says nothing of depends on the terminal: it is
// restored when a program has touched it.
var private = []struct {
	number  int
	initial byte
	group   group
}{
	{1, 'l', alone}, {5, 'l', alone}, {6, 'l', alone}, {7, 'h', alone}, {12, 0, alone}, {25, 'h', alone},
	{45, 0, alone}, {66, 0, alone}, {69, 0, alone}, {1004, 'l', alone}, {1007, 0, alone}, {1034, 0, alone},
	{1035, 0, alone}, {1036, 0, alone}, {1039, 0, alone}, {2004, 'l', alone}, {2027, 0, alone}, {2031, 0, alone},
	{2048, 0, alone},
	{9, 'l', mouse}, {1000, 'l', mouse}, {1001, 0, mouse}, {1002, 'l', mouse}, {1003, 'l', mouse},
	{1005, 'l', coordinates}, {1006, 'l', coordinates}, {1015, 'l', coordinates}, {1016, 'l', coordinates},
}

// softReset are the private modes that a soft reset gives their initial value.
var softReset = map[int]bool{1: true, 6: true, 25: true, 66: true, 69: true}

const keypad = 66

// margins are those of the scrolling region, 0 where they are the screen's.
type margins struct{ top, bottom, left, right int }

// screen is the state of a terminal, without what is drawn on it. It is copied by assignment.
type screen struct {
	on, touched     uint32 // private modes by their place in the table
	insert, newline bool
	alternate       int // the mode that switched the alternate screen on, 0 while it is off
	margins         margins
	cursor          byte // its shape; 0 is the terminal's own
	pen             pen
	saved           [2]pen // with the cursor, on the main and on the alternate screen
	keyboard        keyboard
	titles          titles
	colours         colours
}

// reset is a terminal's switching off and on. What was touched stays so: somebody may not have heard of this.
func (s *screen) reset() {
	*s = screen{touched: s.touched, keyboard: keyboard{used: s.keyboard.used}, colours: colours{used: s.colours.used}}
	for i := range private {
		s.initial(i)
	}
}

func (s *screen) initial(i int) {
	s.on &^= 1 << i
	if private[i].initial == 'h' {
		s.on |= 1 << i
	}
}

func (s *screen) softReset() {
	for i := range private {
		if softReset[private[i].number] {
			s.initial(i)
		}
	}
	s.insert, s.margins, s.cursor, s.pen = false, margins{}, 0, pen{}
	s.saved[s.which()] = pen{}
}

func (s *screen) which() int {
	if s.alternate != 0 {
		return 1
	}
	return 0
}

// sequences are the control sequences that concern us, by what stands around their numbers.
var sequences = map[string]func(*screen, []int){
	"?h": func(s *screen, numbers []int) { s.private(numbers, true) },
	"?l": func(s *screen, numbers []int) { s.private(numbers, false) },
	"h":  func(s *screen, numbers []int) { s.ansi(numbers, true) },
	"l":  func(s *screen, numbers []int) { s.ansi(numbers, false) },
	"r":  func(s *screen, numbers []int) { s.margins.top, s.margins.bottom = at(numbers, 0), at(numbers, 1) },
	"s":  func(s *screen, numbers []int) { s.save(numbers) },
	" q": func(s *screen, numbers []int) { s.cursor = byte(min(at(numbers, 0), 9)) },
	"!p": func(s *screen, _ []int) { s.softReset() },
	"u": func(s *screen, numbers []int) {
		if len(numbers) == 0 {
			s.load()
		}
	},
	"t":  func(s *screen, numbers []int) { s.titles.stack(numbers) },
	">m": func(s *screen, numbers []int) { s.keyboard.modify(numbers) },
	">n": func(s *screen, numbers []int) { s.keyboard.unmodify(numbers) },
	">u": func(s *screen, numbers []int) { s.keyboard.push(s.which(), at(numbers, 0)) },
	"<u": func(s *screen, numbers []int) { s.keyboard.pop(s.which(), max(at(numbers, 0), 1)) },
	"=u": func(s *screen, numbers []int) { s.keyboard.set(s.which(), at(numbers, 0), at(numbers, 1)) },
}

// sequence is a control sequence with these parameters, intermediate bytes and this end.
func (s *screen) sequence(parameters string, final byte) {
	if final == 'm' && (parameters == "" || parameters[0] < '<') {
		s.pen.draw(parameters)
		return
	}
	digits := strings.TrimLeft(parameters, "<=>?")
	numbers := strings.TrimRight(digits, " !\"#$%&'()*+,-./")
	kind := parameters[:len(parameters)-len(digits)] + digits[len(numbers):] + string(final)
	if act := sequences[kind]; act != nil {
		if values, ok := parsed(numbers); ok {
			act(s, values)
		}
	}
}

// parsed are numbers; one that is left out is 0.
func parsed(text string) ([]int, bool) {
	if text == "" {
		return nil, true
	}
	numbers := make([]int, 0, 4)
	for part := range strings.SplitSeq(text, ";") {
		number, err := strconv.Atoi(part)
		if part != "" && (err != nil || number < 0 || number > 1<<16) {
			return nil, false
		}
		numbers = append(numbers, number)
	}
	return numbers, true
}

func at(numbers []int, place int) int {
	if place < len(numbers) {
		return numbers[place]
	}
	return 0
}

// escape is an escape sequence of one character.
func (s *screen) escape(b byte) {
	switch b {
	case '=':
		s.private([]int{keypad}, true)
	case '>':
		s.private([]int{keypad}, false)
	case '7':
		s.saved[s.which()] = s.pen
	case '8':
		s.load()
	case 'n', 'o':
		s.pen.shift = b
	}
}

// designate gives one of the four places a character set.
func (s *screen) designate(place, set byte) {
	if i := strings.IndexByte(places, place); i >= 0 && set >= 0x30 && set <= 0x7e {
		s.pen.sets[i] = set
	}
}

// load is what `save` was for, and what a program that leaves the alternate screen gets back.
func (s *screen) load() { s.pen = s.saved[s.which()] }

// save is that of the cursor, but where left and right margins are allowed and given.
func (s *screen) save(numbers []int) {
	switch {
	case s.has(69):
		s.margins.left, s.margins.right = at(numbers, 0), at(numbers, 1)
	case len(numbers) == 0:
		s.saved[s.which()] = s.pen
	}
}

func (s *screen) ansi(numbers []int, on bool) {
	for _, number := range numbers {
		switch number {
		case 4:
			s.insert = on
		case 20:
			s.newline = on
		}
	}
}

func place(number int) int {
	for i := range private {
		if private[i].number == number {
			return i
		}
	}
	return -1
}

func (s *screen) has(number int) bool { return s.on>>place(number)&1 != 0 }

func (s *screen) private(numbers []int, on bool) {
	for _, number := range numbers {
		switch number {
		case 47, 1047, 1049:
			s.turn(number, on)
			continue
		case 1048:
			if on {
				s.saved[s.which()] = s.pen
			} else {
				s.load()
			}
			continue
		}
		if i := place(number); i >= 0 {
			s.put(i, on)
		}
	}
}

func (s *screen) put(i int, on bool) {
	if same := private[i].group; same != alone && (on || same == mouse) {
		for other := range private {
			if private[other].group == same {
				s.on &^= 1 << other
			}
		}
	}
	s.touched |= 1 << i
	s.on &^= 1 << i
	if on {
		s.on |= 1 << i
	}
	if private[i].number == 69 && !on {
		s.margins.left, s.margins.right = 0, 0
	}
}

// turn goes to the alternate screen and back.
func (s *screen) turn(number int, on bool) {
	switch {
	case on && s.alternate == 0:
		if number == 1049 {
			s.saved[0] = s.pen
		}
		s.alternate = number
	case !on && s.alternate != 0:
		s.alternate = 0
		if number == 1049 {
			s.load()
		}
	}
}
