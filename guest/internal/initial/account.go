package initial

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"rexec-guest/internal/accounts"
	"rexec-guest/internal/acl"
)

const home = "/home/user"

// ensureAccount makes the account `user` and its home where the image has none, and lets it into what others create
// there; an image that does not allow it stays as it is. An account of the image with the same number shares it: `user`
// comes before it, so that the number's name and home are those of `user`.
func ensureAccount() {
	id := strconv.Itoa(accounts.DefaultUID)
	group := id
	if !named("/etc/passwd", "user") {
		if other, err := accounts.Lookup(id); err == nil && other.Name != "" {
			group = strconv.Itoa(int(other.GID))
		}
		if _, err := os.Stat("/etc/passwd"); err != nil {
			addLine("/etc/passwd", "root:x:0:0:root:/root:"+loginShell(), "")
		}
		addLine("/etc/passwd", "user:x:"+id+":"+group+":user:"+home+":"+loginShell(), id)
		if group == id && accounts.GroupName(accounts.DefaultUID) == "" && !named("/etc/group", "user") {
			addLine("/etc/group", "user:x:"+id+":", "")
		}
		if _, err := os.Stat("/etc/shadow"); err == nil && !named("/etc/shadow", "user") {
			addLine("/etc/shadow", "user:*:19000:0:99999:7:::", "")
		}
	}
	user, err := accounts.Lookup("user")
	if err != nil {
		return
	}
	var found syscall.Stat_t
	if syscall.Lstat(home, &found) != nil {
		if os.MkdirAll(filepath.Dir(home), 0o755) != nil || os.Mkdir(home, 0o755) != nil {
			return
		}
		found.Mode = syscall.S_IFDIR
	}
	if found.Mode&syscall.S_IFMT == syscall.S_IFDIR && found.Uid == 0 {
		_ = os.Lchown(home, int(user.UID), int(user.GID))
	}
	acl.Share(home, user.UID)
}

// ensureScratch makes /tmp, without which neither shells nor tmux nor most programs work.
func ensureScratch() {
	if _, err := os.Lstat("/tmp"); err == nil || os.Mkdir("/tmp", 0o777) != nil {
		return
	}
	_ = syscall.Chmod("/tmp", 0o1777)
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

// addLine rewrites the file with one line more, before the first that has the number, or at the end: beside it, then over
// it, with the owner and mode it had.
func addLine(path, line, before string) {
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
	temporary := path + ".rexec"
	defer os.Remove(temporary)
	if os.WriteFile(temporary, []byte(inserted(string(data), line, before)), mode) != nil || os.Chmod(temporary, mode) != nil {
		return
	}
	if os.Chown(temporary, uid, gid) == nil {
		_ = os.Rename(temporary, path)
	}
}

func inserted(text, line, before string) string {
	if text != "" && !strings.HasSuffix(text, "\n") {
		text += "\n"
	}
	offset := 0
	for row := range strings.SplitAfterSeq(text, "\n") {
		if fields := strings.Split(row, ":"); before != "" && len(fields) > 3 && fields[2] == before {
			break
		}
		offset += len(row)
	}
	return text[:offset] + line + "\n" + text[offset:]
}
