package accounts

import (
	"os"
	"path/filepath"
	"reflect"
	"testing"
)

func with(t *testing.T, users, groups string) {
	t.Helper()
	dir := t.TempDir()
	before1, before2 := passwd, group
	t.Cleanup(func() { passwd, group = before1, before2 })
	passwd, group = &table{path: filepath.Join(dir, "passwd")}, &table{path: filepath.Join(dir, "group")}
	for path, text := range map[string]string{passwd.path: users, group.path: groups} {
		if text == "" {
			continue
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

const users = "root:x:0:0:root:/root:/bin/bash\n# a comment\nbroken\nnode:x:1000:1000::/home/node:/bin/sh\nwww:x:33:33:a:/var/www:/usr/sbin/nologin\n"
const groups = "root:x:0:\nwww:x:33:\ndocker:x:999:node,www\nwheel:x:10:node\nnode:x:1000:\n"

func TestLookup(t *testing.T) {
	with(t, users, groups)
	cases := map[string]*Account{
		"":           {Name: "root", Home: "/root", Shell: "/bin/bash", Groups: []uint32{0}},
		"node":       {Name: "node", UID: 1000, GID: 1000, Home: "/home/node", Shell: "/bin/sh", Groups: []uint32{1000, 999, 10}},
		"user":       {Name: "node", UID: 1000, GID: 1000, Home: "/home/node", Shell: "/bin/sh", Groups: []uint32{1000, 999, 10}},
		"33":         {Name: "www", UID: 33, GID: 33, Home: "/var/www", Shell: "/usr/sbin/nologin", Groups: []uint32{33, 999}},
		"node:wheel": {Name: "node", UID: 1000, GID: 10, Home: "/home/node", Shell: "/bin/sh", Groups: []uint32{10, 999}},
		"4242:77":    {UID: 4242, GID: 77, Home: "/", Groups: []uint32{77}},
		"4242":       {UID: 4242, GID: 4242, Home: "/", Groups: []uint32{4242}},
	}
	for wanted, expected := range cases {
		if found, err := Lookup(wanted); err != nil || !reflect.DeepEqual(found, expected) {
			t.Errorf("%q is %+v, %v", wanted, found, err)
		}
	}
	for _, wanted := range []string{"bob", "node:nobody", "-1", "4294967295", "99999999999"} {
		if found, err := Lookup(wanted); err == nil {
			t.Errorf("%q is %+v", wanted, found)
		}
	}
}

func TestWithoutFiles(t *testing.T) {
	with(t, "", "")
	for wanted, uid := range map[string]uint32{"root": 0, "": 0, "user": 1000, "5": 5} {
		if found, err := Lookup(wanted); err != nil || found.UID != uid {
			t.Errorf("%q is %+v, %v", wanted, found, err)
		}
	}
}

func TestAChangeIsSeen(t *testing.T) {
	with(t, users, groups)
	if _, err := Lookup("late"); err == nil {
		t.Fatal("late is there too early")
	}
	if err := os.WriteFile(passwd.path, []byte(users+"late:x:5:5::/:/bin/sh\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if found, err := Lookup("late"); err != nil || found.UID != 5 {
		t.Errorf("%+v, %v", found, err)
	}
}

func TestAPipeIsNoFile(t *testing.T) {
	with(t, "", "")
	if err := os.Symlink("/dev/zero", passwd.path); err != nil {
		t.Fatal(err)
	}
	if found, err := Lookup("root"); err != nil || found.UID != 0 {
		t.Errorf("%+v, %v", found, err)
	}
}
