// Package launch turns what the server asks for into a running process: who, where, with what environment.
package launch

import (
	"errors"
	"os"
	"path"
	"sort"
	"strconv"
	"strings"
	"syscall"

	"rexec-guest/internal/accounts"
	"rexec-guest/internal/fault"
	"rexec-guest/internal/reap"
)

// Spec is the part of a request that says what to run.
type Spec struct {
	Argv []string          `json:"argv"`
	Cwd  string            `json:"cwd"`
	Env  map[string]string `json:"env"`
	User string            `json:"user"`
}

// Launch is a resolved Spec.
type Launch struct {
	Path    string
	Argv    []string
	Dir     string
	Env     []string
	Account *accounts.Account
}

const (
	basePath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
	workHome = "/home/user"
)

// Resolve finds the account, the directory, the environment and the program.
func Resolve(spec *Spec) (*Launch, error) {
	if len(spec.Argv) == 0 || spec.Argv[0] == "" {
		return nil, fault.BadRequest("argv is empty")
	}
	for _, text := range append(append([]string{spec.Cwd, spec.User}, spec.Argv...), flat(spec.Env)...) {
		if strings.IndexByte(text, 0) >= 0 {
			return nil, fault.BadRequest("a NUL byte cannot be passed to a process")
		}
	}
	account, err := accounts.Lookup(spec.User)
	if err != nil {
		return nil, err
	}
	l := &Launch{Argv: spec.Argv, Account: account}
	env := Environment(account, spec.Env)
	if l.Dir, err = directory(spec.Cwd, env["HOME"]); err != nil {
		return nil, err
	}
	env["PWD"] = l.Dir
	if l.Path, err = LookPath(spec.Argv[0], env["PATH"], l.Dir); err != nil {
		return nil, err
	}
	l.Env = pairs(env)
	return l, nil
}

func flat(env map[string]string) []string {
	all := make([]string, 0, 2*len(env))
	for name, value := range env {
		all = append(all, name, value)
	}
	return all
}

// own are the variables that say who the guest itself is; they mean nothing to another account.
var own = []string{"HOME", "USER", "LOGNAME", "SHELL"}

// Environment is the base, then the image's, then what is asked for.
func Environment(account *accounts.Account, asked map[string]string) map[string]string {
	env := make(map[string]string, 16+len(asked))
	inherited := os.Environ()
	env["PATH"], env["LANG"] = basePath, "C.UTF-8"
	for _, pair := range inherited {
		if name, value, ok := strings.Cut(pair, "="); ok && name != "" && name != "PWD" {
			env[name] = value
		}
	}
	if int(account.UID) != os.Getuid() {
		for _, name := range own {
			delete(env, name)
		}
	}
	base := []string{account.Home, account.Name, account.Name, account.Shell}
	for i, name := range own {
		if _, known := env[name]; !known && base[i] != "" {
			env[name] = base[i]
		}
	}
	for name, value := range asked {
		if name != "" && !strings.Contains(name, "=") {
			env[name] = value
		}
	}
	return env
}

func pairs(env map[string]string) []string {
	all := make([]string, 0, len(env))
	for name, value := range env {
		all = append(all, name+"="+value)
	}
	sort.Strings(all)
	return all
}

func isDirectory(name string) bool {
	var found syscall.Stat_t
	return syscall.Stat(name, &found) == nil && found.Mode&syscall.S_IFMT == syscall.S_IFDIR
}

func directory(asked, home string) (string, error) {
	if asked != "" {
		full := asked
		if !path.IsAbs(full) {
			base, _ := directory("", home)
			full = path.Join(base, full)
		}
		if !isDirectory(full) {
			return "", fault.New(400, "no_such_directory", "no directory %q in the container", asked)
		}
		return full, nil
	}
	for _, candidate := range []string{workHome, home} {
		if candidate != "" && isDirectory(candidate) {
			return candidate, nil
		}
	}
	return "/", nil
}

// Executable tells whether a file could be run.
func Executable(name string) bool {
	var found syscall.Stat_t
	return syscall.Stat(name, &found) == nil && found.Mode&syscall.S_IFMT == syscall.S_IFREG && found.Mode&0o111 != 0
}

// LookPath finds a program as the new process would.
func LookPath(name, searched, dir string) (string, error) {
	missing := fault.New(400, "no_such_command", "no command %q in the container", name)
	absolute := func(candidate string) string {
		if path.IsAbs(candidate) {
			return candidate
		}
		return path.Join(dir, candidate)
	}
	if strings.Contains(name, "/") {
		full := absolute(name)
		if isDirectory(full) {
			return "", fault.New(403, "permission_denied", "%q is a directory", name)
		}
		var found syscall.Stat_t
		if syscall.Stat(full, &found) != nil {
			return "", missing
		}
		return full, nil
	}
	for entry := range strings.SplitSeq(searched, ":") {
		if candidate := absolute(path.Join(entry, name)); Executable(candidate) {
			return candidate, nil
		}
	}
	return "", missing
}

// Start runs it on the three files; with tty they are a terminal that becomes the controlling one.
func (l *Launch) Start(files [3]uintptr, tty bool) (*reap.Child, error) {
	attr := &syscall.ProcAttr{
		Dir:   l.Dir,
		Env:   l.Env,
		Files: files[:],
		Sys:   &syscall.SysProcAttr{Setsid: true, Setctty: tty},
	}
	if os.Geteuid() == 0 {
		attr.Sys.Credential = &syscall.Credential{Uid: l.Account.UID, Gid: l.Account.GID, Groups: l.Account.Groups}
	}
	child, err := reap.Start(l.Path, l.Argv, attr)
	if errors.Is(err, syscall.ENOEXEC) {
		argv := append([]string{"sh", l.Path}, l.Argv[1:]...)
		child, err = reap.Start("/bin/sh", argv, attr)
	}
	if err == nil {
		offer(child.Pid)
		return child, nil
	}
	switch {
	case errors.Is(err, syscall.EAGAIN), errors.Is(err, syscall.ENOMEM):
		return nil, fault.NoProcess()
	case errors.Is(err, syscall.ENOENT):
		return nil, fault.New(400, "no_such_command", "%q cannot be run: its interpreter or loader is missing", l.Argv[0])
	case errors.Is(err, syscall.E2BIG):
		return nil, fault.BadRequest("arguments and environment are too long: Linux takes 128 KiB each, some MiB in all")
	case errors.Is(err, syscall.EACCES):
		return nil, fault.New(403, "permission_denied", "%s may not run %q in %q", l.who(), l.Argv[0], l.Dir)
	}
	return nil, fault.From(&os.PathError{Op: "exec", Path: l.Argv[0], Err: err})
}

func (l *Launch) who() string {
	if l.Account.Name != "" {
		return l.Account.Name
	}
	return "user " + strconv.FormatUint(uint64(l.Account.UID), 10)
}
