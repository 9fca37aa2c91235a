package modes

import (
	"strconv"
	"strings"
)

const save = "\x1b7"

// restore brings a terminal of unknown state to this one's, its screen empty.
func (s *screen) restore() []byte {
	var out strings.Builder
	rare := s.pen.rare() || s.saved[0].rare() || s.saved[1].rare()
	out.WriteString("\x1b[!p\x1b]8;;\x1b\\\x1b[?1049l")
	s.colours.write(&out)
	s.titles.write(&out)
	s.keyboard.write(&out, 0)
	s.saved[0].write(&out, rare)
	out.WriteString(save)
	if s.alternate != 0 {
		out.WriteString("\x1b[?" + strconv.Itoa(s.alternate) + "h")
		s.keyboard.write(&out, 1)
		s.saved[1].write(&out, rare)
		out.WriteString(save)
	}
	out.WriteString("\x1b[0m\x1b[H\x1b[2J")
	// All that is off first: where one mode ends another, that would end what is on.
	for _, on := range []bool{false, true} {
		s.modes(&out, on)
	}
	s.edges(&out)
	out.WriteString("\x1b[" + strconv.Itoa(int(s.cursor)) + " q")
	s.pen.write(&out, rare)
	return []byte(out.String())
}

func (s *screen) modes(out *strings.Builder, on bool) {
	final := "l"
	if on {
		final = "h"
	}
	for i := range private {
		mode := &private[i]
		if s.on>>i&1 != 0 == on && mode.number != keypad && (mode.initial != 0 || s.touched>>i&1 != 0) {
			out.WriteString("\x1b[?" + strconv.Itoa(mode.number) + final)
		}
	}
	switch {
	case s.has(keypad) && on:
		out.WriteString("\x1b=")
	case !s.has(keypad) && !on:
		out.WriteString("\x1b>")
	}
	if s.insert == on {
		out.WriteString("\x1b[4" + final)
	}
	if s.newline == on {
		out.WriteString("\x1b[20" + final)
	}
}

// edges are the margins; setting them moves the cursor to their corner.
func (s *screen) edges(out *strings.Builder) {
	pair := func(first, last int, final string) {
		numbers := ""
		if first != 0 || last != 0 {
			numbers = strconv.Itoa(first) + ";" + strconv.Itoa(last)
		}
		out.WriteString("\x1b[" + numbers + final)
	}
	pair(s.margins.top, s.margins.bottom, "r")
	if s.has(69) {
		pair(s.margins.left, s.margins.right, "s")
	}
}
