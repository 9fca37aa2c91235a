// Package exec runs commands: to their end, as a stream, or in the background.
package exec

import (
	"context"
	"syscall"
	"time"

	"rexec-guest/internal/cgroup"
	"rexec-guest/internal/launch"
	"rexec-guest/internal/proc"
	"rexec-guest/internal/reap"
)

// Request is the body of `POST /v1/exec`.
type Request struct {
	launch.Spec
	TimeoutMS int64  `json:"timeout_ms"`
	Stdin     []byte `json:"stdin"`
	MaxOutput int64  `json:"max_output"`
}

// End is how a command ended.
type End struct {
	ExitCode   int    `json:"exit_code"`
	Reason     string `json:"reason"`
	TimedOut   bool   `json:"timed_out"`
	DurationMS int64  `json:"duration_ms"`
	MemoryPeak int64  `json:"memory_peak,omitempty"`
}

// Result is the answer of `POST /v1/exec`.
type Result struct {
	End
	Stdout    []byte `json:"stdout"`
	Stderr    []byte `json:"stderr"`
	Truncated bool   `json:"truncated"`
}

const (
	// linger is how long output is awaited from those that hold the pipes after the command's own end.
	linger    = 100 * time.Millisecond
	killing   = 10 * time.Second
	maxOutput = 64 << 20
)

// Run runs a command to its end. When the context ends first, the command and all its descendants are killed.
func Run(ctx context.Context, request *Request) (*Result, error) {
	limit := request.MaxOutput
	if limit <= 0 || limit > maxOutput {
		limit = 1 << 20
	}
	running, err := Start(request)
	if err != nil {
		return nil, err
	}
	stdout, stderr := newCollector(limit), newCollector(limit)
	end := running.Follow(ctx, time.Duration(request.TimeoutMS)*time.Millisecond, stdout.take, stderr.take)
	return &Result{
		End: end, Stdout: stdout.data, Stderr: stderr.data, Truncated: stdout.more || stderr.more,
	}, nil
}

// command is a running process with its pipes.
type command struct {
	child                 *reap.Child
	stdin, stdout, stderr *launch.Pipe
	oomBefore             int64
}

func begin(resolved *launch.Launch, withStdin bool) (*command, error) {
	c := &command{oomBefore: cgroup.Own().OOMKills()}
	var err error
	files := [3]uintptr{launch.Null()}
	if withStdin {
		if c.stdin, err = launch.NewPipe(false); err != nil {
			return nil, err
		}
		files[0] = uintptr(c.stdin.Theirs)
	}
	if c.stdout, err = launch.NewPipe(true); err == nil {
		c.stderr, err = launch.NewPipe(true)
	}
	if err == nil {
		files[1], files[2] = uintptr(c.stdout.Theirs), uintptr(c.stderr.Theirs)
		c.child, err = resolved.Start(files, false)
	}
	if err != nil {
		c.close()
		return nil, err
	}
	c.stdin.CloseTheirs()
	c.stdout.CloseTheirs()
	c.stderr.CloseTheirs()
	return c, nil
}

func (c *command) close() {
	c.stdin.Close()
	for _, pipe := range []*launch.Pipe{c.stdout, c.stderr} {
		if pipe != nil && pipe.Held {
			drain(pipe.Ours)
		} else {
			pipe.Close()
		}
	}
}

// hurry gives up reading soon: who still holds the pipes is not the command any more.
func (c *command) hurry() {
	deadline := time.Now().Add(linger)
	_ = c.stdout.Ours.SetReadDeadline(deadline)
	_ = c.stderr.Ours.SetReadDeadline(deadline)
	if c.stdin != nil {
		_ = c.stdin.Ours.SetWriteDeadline(time.Now())
	}
}

// write feeds the standard input, if there is any.
func (c *command) write(input []byte) {
	if c.stdin != nil {
		go func() {
			_, _ = c.stdin.Ours.Write(input)
			_ = c.stdin.Ours.Close()
		}()
	}
}

// await waits for the end of a process, or brings it about.
func await(ctx context.Context, child *reap.Child, timeout time.Duration, oomBefore int64) End {
	var expired <-chan time.Time
	if timeout > 0 {
		timer := time.NewTimer(timeout)
		defer timer.Stop()
		expired = timer.C
	}
	end := End{ExitCode: -1}
	select {
	case <-child.Done():
		return ended(child, oomBefore)
	case <-expired:
		end.Reason, end.TimedOut = "timed_out", true
	case <-ctx.Done():
		end.Reason = "canceled"
	}
	proc.KillTree(child, killing)
	select {
	case <-child.Done():
	case <-time.After(killing):
	}
	return end
}

// ended tells how a process ended by itself.
func ended(child *reap.Child, oomBefore int64) End {
	end := End{ExitCode: child.Code(), Reason: "exited"}
	if child.Status().Signaled() {
		end.Reason = "signaled"
	}
	if end.ExitCode == 128+int(syscall.SIGKILL) && oomBefore >= 0 && cgroup.Own().OOMKills() > oomBefore {
		end.Reason = "out_of_memory"
		end.MemoryPeak = max(cgroup.Own().MemoryPeak(), 0)
	}
	return end
}

// collector keeps the first bytes of a stream and drops the rest.
type collector struct {
	limit int64
	data  []byte
	more  bool
}

func newCollector(limit int64) *collector { return &collector{limit: limit, data: []byte{}} }

func (c *collector) take(part []byte) error {
	room := min(int64(len(part)), c.limit-int64(len(c.data)))
	c.data = append(c.data, part[:room]...)
	c.more = c.more || room < int64(len(part))
	return nil
}
