// Package accounts resolves users in the container's own /etc/passwd and /etc/group.
package accounts

import (
	"io"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"

	"rexec-guest/internal/fault"
)

// Account is who a process runs as.
type Account struct {
	Name   string
	UID    uint32
	GID    uint32
	Groups []uint32
	Home   string
	Shell  string
}

const maxFile = 4 << 20

// DefaultUID is that of the account `user`.
const DefaultUID = 1000

type table struct {
	path string
	lock sync.Mutex
	seen syscall.Stat_t
	rows [][]string
}

var (
	passwd = &table{path: "/etc/passwd"}
	group  = &table{path: "/etc/group"}
)

// read parses the file, or remembers it while it has not changed. What is not a plain file has no rows.
func (t *table) read() [][]string {
	t.lock.Lock()
	defer t.lock.Unlock()
	var now syscall.Stat_t
	if syscall.Stat(t.path, &now) != nil || now.Mode&syscall.S_IFMT != syscall.S_IFREG {
		return nil
	}
	same := now.Ino == t.seen.Ino && now.Dev == t.seen.Dev && now.Size == t.seen.Size && now.Ctim == t.seen.Ctim
	if same && t.rows != nil {
		return t.rows
	}
	file, err := os.OpenFile(t.path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil
	}
	defer file.Close()
	data, err := io.ReadAll(io.LimitReader(file, maxFile))
	if err != nil {
		return nil
	}
	t.rows = parse(string(data))
	t.seen = now
	return t.rows
}

func parse(text string) [][]string {
	rows := [][]string{}
	for line := range strings.SplitSeq(text, "\n") {
		line = strings.TrimRight(line, "\r")
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		if fields := strings.Split(line, ":"); len(fields) >= 3 && fields[0] != "" {
			rows = append(rows, fields)
		}
	}
	return rows
}

func number(text string) (uint32, bool) {
	value, err := strconv.ParseUint(text, 10, 32)
	return uint32(value), err == nil && value < 1<<32-1
}

// Lookup resolves `name`, `uid`, `name:group`, `uid:gid`; empty is root.
func Lookup(wanted string) (*Account, error) {
	user, groupName, hasGroup := strings.Cut(wanted, ":")
	account := find(user)
	if account == nil {
		return nil, fault.New(400, "no_such_user", "no user %q in the container", user)
	}
	if hasGroup && groupName != "" {
		gid, ok := groupID(groupName)
		if !ok {
			return nil, fault.New(400, "no_such_user", "no group %q in the container", groupName)
		}
		account.GID = gid
	}
	account.Groups = groupsOf(account)
	return account, nil
}

func find(user string) *Account {
	if user == "" {
		user = "root"
	}
	uid, isNumber := number(user)
	for _, row := range passwd.read() {
		if len(row) < 7 {
			continue
		}
		rowUID, ok := number(row[2])
		gid, ok2 := number(row[3])
		if ok && ok2 && (row[0] == user || (isNumber && rowUID == uid)) {
			return &Account{Name: row[0], UID: rowUID, GID: gid, Home: row[5], Shell: row[6]}
		}
	}
	switch {
	case user == "root" || (isNumber && uid == 0):
		return &Account{Name: "root", Home: "/root"}
	case user == "user":
		if known := find(strconv.Itoa(DefaultUID)); known != nil && known.Name != "" {
			return known
		}
		return &Account{Name: "user", UID: DefaultUID, GID: DefaultUID, Home: "/home/user"}
	case isNumber:
		return &Account{UID: uid, GID: uid, Home: "/"}
	}
	return nil
}

func groupID(name string) (uint32, bool) {
	for _, row := range group.read() {
		if row[0] == name {
			return number(row[2])
		}
	}
	return number(name)
}

func groupsOf(account *Account) []uint32 {
	groups := []uint32{account.GID}
	if account.Name == "" {
		return groups
	}
	for _, row := range group.read() {
		if len(row) < 4 {
			continue
		}
		gid, ok := number(row[2])
		if !ok || gid == account.GID || len(groups) >= 1024 {
			continue
		}
		for member := range strings.SplitSeq(row[3], ",") {
			if strings.TrimSpace(member) == account.Name {
				groups = append(groups, gid)
				break
			}
		}
	}
	return groups
}

// UserName names a uid where passwd does.
func UserName(uid uint32) string { return name(passwd, uid) }

// GroupName names a gid where group does.
func GroupName(gid uint32) string { return name(group, gid) }

func name(t *table, id uint32) string {
	text := strconv.FormatUint(uint64(id), 10)
	for _, row := range t.read() {
		if row[2] == text {
			return row[0]
		}
	}
	return ""
}
