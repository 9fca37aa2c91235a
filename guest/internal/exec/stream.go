package exec

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"net"
	"os"
	"sync"
	"syscall"
	"time"

	"rexec-guest/internal/cgroup"
	"rexec-guest/internal/fault"
	"rexec-guest/internal/feed"
	"rexec-guest/internal/frames"
	"rexec-guest/internal/launch"
	"rexec-guest/internal/pty"
	"rexec-guest/internal/reap"
)

// Size is that of a terminal.
type Size struct {
	Cols uint16 `json:"cols"`
	Rows uint16 `json:"rows"`
}

type startMessage struct {
	Type string `json:"type"`
	Request
	TTY *Size `json:"tty"`
}

type controlMessage struct {
	Type   string `json:"type"`
	Signal any    `json:"signal"`
	Size
}

type exitMessage struct {
	Type string `json:"type"`
	End
}

// longestStart is of the first frame, which carries a whole command.
const longestStart = 4 << 20

// inputLimit is how much input waits for a process that does not read it.
const inputLimit = 256 << 10

// stream is one command that talks over a connection.
type stream struct {
	conn   net.Conn
	source *frames.Reader
	out    *frames.Writer
	input  *feed.Feed
	child  *reap.Child
	tty    *os.File // our end of the terminal, nil on pipes
	pipes  *command // nil on a terminal
}

// Serve runs the command that the first frame asks for and carries its input and output until it ends.
func Serve(conn net.Conn, reader *bufio.Reader) error {
	s := &stream{
		conn: conn, source: frames.NewReader(reader), out: frames.NewWriter(conn), input: feed.New(inputLimit),
	}
	message, err := s.first()
	if err != nil {
		return s.refuse(err)
	}
	started := time.Now()
	oomBefore := cgroup.Own().OOMKills()
	if err := s.begin(message); err != nil {
		return s.refuse(err)
	}
	defer s.close()
	if err := s.out.Control(map[string]any{"type": "started", "pid": s.child.Pid}); err != nil {
		message.TimeoutMS = 1
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go s.listen(cancel)
	var reading sync.WaitGroup
	s.output(&reading, cancel)
	end := await(ctx, s.child, time.Duration(message.TimeoutMS)*time.Millisecond, oomBefore)
	s.hurry()
	reading.Wait()
	end.DurationMS = time.Since(started).Milliseconds()
	return s.out.Control(exitMessage{"exit", end})
}

func (s *stream) first() (*startMessage, error) {
	frame, err := s.source.Within(longestStart)
	if errors.Is(err, frames.ErrProtocol) {
		return nil, fault.BadRequest("the first frame is not a start, or longer than %d bytes", longestStart)
	}
	if err != nil {
		return nil, err
	}
	message := &startMessage{}
	if frame.Kind != frames.Control || json.Unmarshal(frame.Payload, message) != nil || message.Type != "start" {
		return nil, fault.BadRequest("the first frame is not a start")
	}
	return message, nil
}

func (s *stream) refuse(err error) error {
	problem := fault.From(err)
	return s.out.Control(map[string]string{"type": "error", "error": problem.Text, "code": problem.Code})
}

func (s *stream) begin(message *startMessage) error {
	if message.TTY != nil {
		if message.Env == nil {
			message.Env = map[string]string{}
		}
		if message.Env["TERM"] == "" {
			message.Env["TERM"] = "xterm-256color"
		}
	}
	resolved, err := launch.Resolve(&message.Spec)
	if err != nil {
		return err
	}
	if message.TTY == nil {
		if s.pipes, err = begin(resolved, true); err != nil {
			return err
		}
		s.child = s.pipes.child
		go func() {
			s.input.Pump(s.pipes.stdin.Ours)
			_ = s.pipes.stdin.Ours.Close()
		}()
		return nil
	}
	ours, theirs, err := pty.Open(max(message.TTY.Cols, 1), max(message.TTY.Rows, 1), resolved.Account.UID)
	if err != nil {
		return err
	}
	fd := uintptr(theirs)
	s.child, err = resolved.Start([3]uintptr{fd, fd, fd}, true)
	_ = syscall.Close(theirs)
	if err != nil {
		_ = ours.Close()
		return err
	}
	s.tty = ours
	go s.input.Pump(ours)
	return nil
}

// listen takes what the server sends; when the connection ends, so does the command.
func (s *stream) listen(cancel context.CancelFunc) {
	defer cancel()
	defer s.input.Abort()
	for {
		frame, err := s.source.Next()
		if err != nil {
			return
		}
		switch frame.Kind {
		case frames.Input:
			if !s.put(frame.Payload) && frames.Left(s.conn) {
				return
			}
		case frames.End:
			s.endInput()
		case frames.Control:
			s.control(frame.Payload)
		default:
			return
		}
	}
}

// put waits for the process to read, unless the server leaves meanwhile.
func (s *stream) put(data []byte) bool {
	return s.input.Put(data, func() bool { return frames.Left(s.conn) }, frames.Blink)
}

// endInput is the end of a pipe, and the end-of-file character on a terminal.
func (s *stream) endInput() {
	if s.tty != nil {
		s.put([]byte{4})
		return
	}
	s.input.End()
}

func (s *stream) control(payload []byte) {
	var message controlMessage
	if json.Unmarshal(payload, &message) != nil {
		return
	}
	switch message.Type {
	case "signal":
		if signal, err := Signal(message.Signal); err == nil {
			_ = s.child.Signal(signal, true)
		}
	case "resize":
		if s.tty != nil && message.Cols > 0 && message.Rows > 0 {
			_ = pty.Resize(s.tty, message.Cols, message.Rows)
		}
	}
}

func (s *stream) output(reading *sync.WaitGroup, cancel context.CancelFunc) {
	carry := func(source *os.File, kind byte, held *bool) {
		reading.Go(func() {
			*held = !pump(source, func(part []byte) error {
				err := s.out.Send(kind, part)
				if err != nil {
					cancel()
				}
				return err
			})
		})
	}
	if s.tty != nil {
		var held bool
		carry(s.tty, frames.Output, &held)
		return
	}
	carry(s.pipes.stdout.Ours, frames.Output, &s.pipes.stdout.Held)
	carry(s.pipes.stderr.Ours, frames.Stderr, &s.pipes.stderr.Held)
}

func (s *stream) hurry() {
	if s.tty != nil {
		_ = s.tty.SetReadDeadline(time.Now().Add(linger))
		return
	}
	s.pipes.hurry()
}

func (s *stream) close() {
	s.input.Abort()
	if s.tty != nil {
		_ = s.tty.Close()
		return
	}
	s.pipes.close()
}
