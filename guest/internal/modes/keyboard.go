package modes

import (
	"strconv"
	"strings"
)

const (
	deepest     = 8
	modifiables = 8
)

// keyboard is how keys are told: xterm's modifiers, and the stacks of flags of kitty's protocol, one a screen.
type keyboard struct {
	used     bool // by a program, ever
	flags    [2][deepest]byte
	pushed   [2]int
	modified [modifiables]byte // the value and 1; 0 is the terminal's own
}

func (k *keyboard) push(which, flags int) {
	k.used = true
	stack := &k.flags[which]
	if k.pushed[which] == deepest-1 {
		copy(stack[:], stack[1:])
		k.pushed[which]--
	}
	k.pushed[which]++
	stack[k.pushed[which]] = byte(flags)
}

func (k *keyboard) pop(which, count int) {
	k.used = true
	for range min(count, deepest) {
		k.flags[which][k.pushed[which]] = 0
		k.pushed[which] = max(k.pushed[which]-1, 0)
	}
}

// set changes the present flags: to these, by adding them, by taking them away.
func (k *keyboard) set(which, flags, how int) {
	k.used = true
	now := &k.flags[which][k.pushed[which]]
	switch how {
	case 0, 1:
		*now = byte(flags)
	case 2:
		*now |= byte(flags)
	case 3:
		*now &^= byte(flags)
	}
}

func (k *keyboard) modify(numbers []int) {
	k.used = true
	switch key := at(numbers, 0); {
	case len(numbers) == 0:
		k.modified = [modifiables]byte{}
	case key < modifiables && len(numbers) > 1:
		k.modified[key] = byte(min(numbers[1], 9)) + 1
	case key < modifiables:
		k.modified[key] = 0
	}
}

func (k *keyboard) unmodify(numbers []int) {
	k.used = true
	if key := at(numbers, 0); key < modifiables && len(numbers) > 0 {
		k.modified[key] = 0
	}
}

// write is for the screen that is on.
func (k *keyboard) write(out *strings.Builder, which int) {
	if !k.used {
		return
	}
	out.WriteString("\x1b[<" + strconv.Itoa(deepest) + "u")
	for depth, flags := range k.flags[which][:k.pushed[which]+1] {
		if depth == 0 {
			out.WriteString("\x1b[=" + strconv.Itoa(int(flags)) + "u")
			continue
		}
		out.WriteString("\x1b[>" + strconv.Itoa(int(flags)) + "u")
	}
	if which == 0 {
		out.WriteString("\x1b[>m")
		for key, value := range k.modified {
			if value != 0 {
				out.WriteString("\x1b[>" + strconv.Itoa(key) + ";" + strconv.Itoa(int(value-1)) + "m")
			}
		}
	}
}
