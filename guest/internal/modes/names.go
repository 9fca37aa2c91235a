package modes

import (
	"bytes"
	"strconv"
	"strings"
)

const mostTitles = 6

// titles are the window's, and those that wait to come back.
type titles struct {
	now    string
	stored [mostTitles]string
	count  int
}

// stack is what programs do that put the title back: 22 stores it, 23 takes it from there.
func (t *titles) stack(numbers []int) {
	if which := at(numbers, 1); which != 0 && which != 2 {
		return
	}
	switch at(numbers, 0) {
	case 22:
		if t.count == mostTitles {
			copy(t.stored[:], t.stored[1:])
			t.count--
		}
		t.stored[t.count] = t.now
		t.count++
	case 23:
		if t.count > 0 {
			t.count--
			t.now = t.stored[t.count]
			t.stored[t.count] = ""
		}
	}
}

func (t *titles) write(out *strings.Builder) {
	for _, title := range t.stored[:t.count] {
		out.WriteString("\x1b]2;" + title + "\x07\x1b[22;0t")
	}
	if t.now != "" || t.count > 0 {
		out.WriteString("\x1b]2;" + t.now + "\x07")
	}
}

// firstColour is the command for the text's own colour; behind it come the background's and the cursor's.
const firstColour = 10

// colours are those that are not the terminal's own.
type colours struct {
	used  bool
	value [3]string
}

func (c *colours) write(out *strings.Builder) {
	for i, value := range c.value {
		switch {
		case value != "":
			out.WriteString("\x1b]" + strconv.Itoa(firstColour+i) + ";" + value + "\x07")
		case c.used:
			out.WriteString("\x1b]" + strconv.Itoa(100+firstColour+i) + "\x07")
		}
	}
}

// command is an operating system command, as far as it concerns us.
func (s *screen) command(whole []byte) {
	if len(whole) > maxText {
		return
	}
	kind, value, _ := bytes.Cut(whole, []byte{';'})
	switch number, err := strconv.Atoi(string(kind)); {
	case err != nil:
	case number == 0 || number == 2:
		s.titles.now = printable(string(value))
	case number >= firstColour && number < firstColour+3:
		if isColour(value) {
			s.colours.used = true
			s.colours.value[number-firstColour] = string(value)
		}
	case number >= 100+firstColour && number < 103+firstColour:
		s.colours.used = true
		s.colours.value[number-100-firstColour] = ""
	}
}

func printable(text string) string {
	return strings.Map(func(r rune) rune {
		if r < 0x20 || (r >= 0x7f && r < 0xa0) {
			return -1
		}
		return r
	}, strings.ToValidUTF8(text, "\uFFFD"))
}

// isColour also keeps out what asks for the colour.
func isColour(value []byte) bool {
	for _, b := range value {
		letter := b|0x20 >= 'a' && b|0x20 <= 'z'
		if !letter && !(b >= '0' && b <= '9') && b != '#' && b != ':' && b != '/' && b != '.' {
			return false
		}
	}
	return len(value) > 0 && len(value) <= 64
}
