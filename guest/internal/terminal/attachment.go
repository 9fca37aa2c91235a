package terminal

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"net"
	"time"

	"rexec-guest/internal/fault"
	"rexec-guest/internal/frames"
)

const outputPart = 32 << 10

// attachment is one connection to a terminal. All fields below `terminal` belong to the terminal's lock.
type attachment struct {
	conn   net.Conn
	out    *frames.Writer
	source *frames.Reader
	news   chan struct{}

	terminal *Terminal
	editor   bool
	size     Size
	next     int64     // the next byte to send
	acked    int64     // up to here the other side has it
	stalled  time.Time // at its window since
	pasting  bool      // its input waits for the shell to read, and what it acknowledges waits behind that
	ignored  bool      // an editor that was waited for too long
	resized  bool
	restore  []byte // what restores the modes before the next byte
	lagged   int64
	gone     bool
}

type attachMessage struct {
	Type         string            `json:"type"`
	Role         string            `json:"role"`
	New          bool              `json:"new"`
	Epoch        string            `json:"epoch"`
	Since        *int64            `json:"since"`
	User         string            `json:"user"`
	Env          map[string]string `json:"env"`
	Cwd          string            `json:"cwd"`
	Shell        map[string]any    `json:"shell"`
	MaxTerminals int               `json:"max_terminals"`
	IdleSeconds  int64             `json:"idle_seconds"`
	Create       *bool             `json:"create"`
	Size
}

type readyMessage struct {
	Type     string `json:"type"`
	Terminal string `json:"terminal"`
	Epoch    string `json:"epoch"`
	Offset   int64  `json:"offset"`
	Live     int64  `json:"live"`
	Size
	Role    string `json:"role"`
	Created bool   `json:"created"`
	Resumed bool   `json:"resumed"`
	Pid     int    `json:"pid"`
}

// Attach serves one connection until it or the shell ends.
func (table *Table) Attach(name string, conn net.Conn, reader *bufio.Reader) error {
	a := &attachment{
		conn: conn, out: frames.NewWriter(conn), source: frames.NewReader(reader), news: make(chan struct{}, 1),
		lagged: -1,
	}
	message, err := a.first()
	if err != nil {
		return a.refuse(err)
	}
	terminal, created, err := table.open(name, message)
	if err != nil {
		return a.refuse(err)
	}
	a.editor, a.size, a.terminal = message.Role != "viewer", message.Size, terminal
	ready := a.join(message, created)
	if err := a.out.Control(ready); err != nil {
		a.leave()
		return err
	}
	go a.listen()
	a.speak()
	a.leave()
	return nil
}

func (a *attachment) first() (*attachMessage, error) {
	frame, err := a.source.Next()
	if err != nil {
		return nil, err
	}
	message := &attachMessage{}
	if frame.Kind != frames.Control || json.Unmarshal(frame.Payload, message) != nil || message.Type != "attach" {
		return nil, fault.BadRequest("the first frame is not an attach")
	}
	message.Size = message.Size.sane()
	return message, nil
}

func (s Size) sane() Size {
	if s.Cols == 0 || s.Cols > 10_000 {
		s.Cols = 80
	}
	if s.Rows == 0 || s.Rows > 10_000 {
		s.Rows = 24
	}
	return s
}

func (a *attachment) refuse(err error) error {
	problem := fault.From(err)
	return a.out.Control(map[string]string{"type": "error", "error": problem.Text, "code": problem.Code})
}

// join takes the place among the attached and finds where the output begins.
func (a *attachment) join(message *attachMessage, created bool) readyMessage {
	t := a.terminal
	t.lock.Lock()
	defer t.lock.Unlock()
	since := int64(-1)
	if message.Since != nil && message.Epoch != "" {
		since = *message.Since
	}
	resumed := since >= 0 && message.Epoch == t.epoch && since >= t.ring.Oldest() && since <= t.ring.End()
	if resumed {
		a.next = since
	} else {
		next, restore := t.screen()
		a.next, a.lagged = next, since
		if next > 0 || since >= 0 {
			a.restore = restore
		}
	}
	a.acked = a.next
	t.attached[a] = struct{}{}
	t.used = time.Now()
	t.life = time.Duration(message.IdleSeconds) * time.Second
	t.age()
	t.fit()
	a.resized = false
	if !resumed && t.modes.Alternate() {
		t.forceRedraw()
	}
	role := "viewer"
	if a.editor {
		role = "editor"
	}
	return readyMessage{
		Type: "ready", Terminal: t.name, Epoch: t.epoch, Offset: a.next, Live: t.ring.End(), Size: t.size, Role: role,
		Created: created, Resumed: resumed, Pid: t.child.Pid,
	}
}

func (a *attachment) leave() {
	t := a.terminal
	t.lock.Lock()
	defer t.lock.Unlock()
	delete(t.attached, a)
	t.used = time.Now()
	t.fit()
	t.nudge()
	t.age()
}

func (t *Terminal) nudge() {
	select {
	case t.room <- struct{}{}:
	default:
	}
}

func (a *attachment) wake() {
	select {
	case a.news <- struct{}{}:
	default:
	}
}

// listen takes what the server sends until the connection ends.
func (a *attachment) listen() {
	defer func() {
		a.terminal.lock.Lock()
		a.gone = true
		a.terminal.lock.Unlock()
		a.wake()
	}()
	for {
		frame, err := a.source.Next()
		if err != nil {
			return
		}
		switch frame.Kind {
		case frames.Input:
			if !a.editor {
				err = a.out.Control(map[string]string{
					"type": "error", "error": "a viewer cannot type", "code": "viewer",
				})
			} else {
				a.typed(frame.Payload)
			}
		case frames.Control:
			a.control(frame.Payload)
		case frames.End:
		default:
			return
		}
		if err != nil {
			return
		}
	}
}

func (a *attachment) typed(data []byte) {
	t := a.terminal
	t.lock.Lock()
	t.used = time.Now()
	t.lock.Unlock()
	if t.input.Offer(data) {
		return
	}
	a.paste(true)
	defer a.paste(false)
	t.input.Put(data, func() bool { return frames.Left(a.conn) }, frames.Blink)
}

// paste keeps a shell that must write before it reads on from waiting for an acknowledgement that waits behind its input.
func (a *attachment) paste(waits bool) {
	a.terminal.lock.Lock()
	defer a.terminal.lock.Unlock()
	a.pasting, a.stalled = waits, time.Time{}
	a.terminal.nudge()
}

func (a *attachment) control(payload []byte) {
	var message struct {
		Type   string `json:"type"`
		Offset int64  `json:"offset"`
		Size
	}
	if json.Unmarshal(payload, &message) != nil {
		return
	}
	t := a.terminal
	t.lock.Lock()
	defer t.lock.Unlock()
	switch message.Type {
	case "resize":
		a.size = message.Size.sane()
		t.fit()
	case "ack":
		if offset := min(message.Offset, a.next); offset > a.acked {
			a.acked, a.ignored, a.stalled = offset, false, time.Time{}
			a.wake()
			t.nudge()
		}
	}
}

// step is what is to be sent next.
type step struct {
	controls []any
	restore  []byte
	offset   int64
	data     []byte
	exit     *exitMessage // behind the last output
	last     bool
	wait     bool
}

// speak sends what there is until the connection or the shell ends.
func (a *attachment) speak() {
	buffer := make([]byte, 0, 4<<10)
	for {
		next := a.prepare(&buffer)
		if next.wait {
			<-a.news
			continue
		}
		for _, message := range next.controls {
			if a.out.Control(message) != nil {
				return
			}
		}
		var head [8]byte
		binary.BigEndian.PutUint64(head[:], uint64(next.offset))
		for _, part := range [][]byte{next.restore, next.data} {
			if len(part) > 0 && a.out.Send(frames.Output, head[:], part) != nil {
				return
			}
		}
		if next.exit != nil {
			_ = a.out.Control(next.exit)
		}
		if next.last {
			return
		}
	}
}

func (a *attachment) prepare(buffer *[]byte) step {
	t := a.terminal
	t.lock.Lock()
	defer t.lock.Unlock()
	if a.gone {
		return step{last: true}
	}
	s := step{}
	if a.resized {
		a.resized = false
		s.controls = append(s.controls, sizeMessage{"resized", t.size})
	}
	end := t.ring.End()
	room := a.acked + window - a.next
	if a.next < end && room > 0 && a.next < t.ring.Oldest() {
		a.fallBehind()
	}
	if a.lagged >= 0 {
		s.controls = append(s.controls, laggedMessage{"lagged", a.lagged, a.next})
		a.lagged = -1
	}
	if s.restore, a.restore = a.restore, nil; s.restore != nil {
		s.controls = append(s.controls, restoreMessage{"restore", len(s.restore)})
	}
	s.offset = a.next
	if room = a.acked + window - a.next; a.next < end && room > 0 {
		s.data = a.take(buffer, min(room, end-a.next, outputPart))
	}
	if t.end != nil && a.next == end {
		s.last = true
		s.exit = &exitMessage{"exit", *t.end}
	}
	s.wait = !s.last && len(s.controls) == 0 && len(s.data) == 0 && len(s.restore) == 0
	return s
}

// fallBehind goes on from the present where the ring has moved past what the attachment had.
func (a *attachment) fallBehind() {
	t := a.terminal
	a.lagged = a.next
	a.next, a.restore = t.screen()
	a.acked = a.next
	if t.modes.Alternate() {
		t.forceRedraw()
	}
}

func (a *attachment) take(buffer *[]byte, count int64) []byte {
	if int64(cap(*buffer)) < count {
		*buffer = make([]byte, 0, outputPart)
	}
	part := (*buffer)[:count]
	read := a.terminal.ring.Read(a.next, part)
	a.next += int64(read)
	return part[:read]
}

type sizeMessage struct {
	Type string `json:"type"`
	Size
}

type laggedMessage struct {
	Type string `json:"type"`
	From int64  `json:"from"`
	To   int64  `json:"to"`
}

type restoreMessage struct {
	Type   string `json:"type"`
	Length int    `json:"length"`
}

type exitMessage struct {
	Type string `json:"type"`
	End
}
