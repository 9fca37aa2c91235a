package exec

import (
	"context"
	"sync"
	"syscall"
	"time"

	"rexec-guest/internal/launch"
)

// Running is a command whose output someone else takes.
type Running struct {
	User    string
	Dir     string
	command *command
	started time.Time
}

// Start runs a command.
func Start(request *Request) (*Running, error) {
	resolved, err := launch.Resolve(&request.Spec)
	if err != nil {
		return nil, err
	}
	started := time.Now()
	command, err := begin(resolved, len(request.Stdin) > 0)
	if err != nil {
		return nil, err
	}
	command.write(request.Stdin)
	return &Running{User: resolved.Account.Name, Dir: resolved.Dir, command: command, started: started}, nil
}

// Pid is that of the process.
func (r *Running) Pid() int { return r.command.child.Pid }

// Signal signals its process group.
func (r *Running) Signal(signal syscall.Signal) error { return r.command.child.Signal(signal, true) }

// Follow hands over the output until the end; when the context ends first, the command and all its descendants are
// killed.
func (r *Running) Follow(ctx context.Context, timeout time.Duration, stdout, stderr func([]byte) error) End {
	var reading sync.WaitGroup
	reading.Go(func() { r.command.stdout.Held = !pump(r.command.stdout.Ours, stdout) })
	reading.Go(func() { r.command.stderr.Held = !pump(r.command.stderr.Ours, stderr) })
	end := await(ctx, r.command.child, timeout, r.command.oomBefore)
	r.command.hurry()
	reading.Wait()
	r.command.close()
	end.DurationMS = time.Since(r.started).Milliseconds()
	return end
}
