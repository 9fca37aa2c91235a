package initial

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"rexec-guest/internal/accounts"
)

const home = "/home/user"

// ensureAccount makes the account `user` and its home where the image has none; an image that does not allow it stays
// as it is.
func ensureAccount() {
	id := strconv.Itoa(accounts.DefaultUID)
	if accounts.UserName(accounts.DefaultUID) == "" && !named("/etc/passwd", "user") {
		if _, err := os.Stat("/etc/passwd"); err != nil {
			appendLine("/etc/passwd", "root:x:0:0:root:/root:"+loginShell())
		}
		appendLine("/etc/passwd", "user:x:"+id+":"+id+":user:"+home+":"+loginShell())
		if accounts.GroupName(accounts.DefaultUID) == "" && !named("/etc/group", "user") {
			appendLine("/etc/group", "user:x:"+id+":")
		}
		if _, err := os.Stat("/etc/shadow"); err == nil && !named("/etc/shadow", "user") {
			appendLine("/etc/shadow", "user:*:19000:0:99999:7:::")
		}
	}
	if _, err := os.Lstat(home); err == nil {
		return
	}
	if os.MkdirAll(filepath.Dir(home), 0o755) == nil && os.Mkdir(home, 0o755) == nil {
		_ = os.Chown(home, accounts.DefaultUID, accounts.DefaultUID)
	}
}

func loginShell() string {
	for _, shell := range []string{"/bin/bash", "/bin/sh"} {
		if _, err := os.Stat(shell); err == nil {
			return shell
		}
	}
	return "/bin/sh"
}

func named(path, name string) bool {
	data, err := os.ReadFile(path)
	return err == nil && (strings.HasPrefix(string(data), name+":") || strings.Contains(string(data), "\n"+name+":"))
}

// appendLine rewrites the file with one line more: beside it, then over it, with the owner and mode it had.
func appendLine(path, line string) {
	data, err := os.ReadFile(path)
	mode, uid, gid := os.FileMode(0o644), 0, 0
	if err != nil {
		if !os.IsNotExist(err) || os.MkdirAll(filepath.Dir(path), 0o755) != nil {
			return
		}
	} else if info, err := os.Stat(path); err == nil {
		mode = info.Mode().Perm()
		if stat, ok := info.Sys().(*syscall.Stat_t); ok {
			uid, gid = int(stat.Uid), int(stat.Gid)
		}
	}
	if len(data) > 0 && data[len(data)-1] != '\n' {
		data = append(data, '\n')
	}
	temporary := path + ".rexec"
	defer os.Remove(temporary)
	if os.WriteFile(temporary, append(data, line+"\n"...), mode) != nil || os.Chmod(temporary, mode) != nil {
		return
	}
	if os.Chown(temporary, uid, gid) == nil {
		_ = os.Rename(temporary, path)
	}
}
