package initial

import "testing"

func TestInserted(t *testing.T) {
	const root, ubuntu, user = "root:x:0:0::/root:/bin/sh\n", "ubuntu:x:1000:1000::/home/ubuntu:/bin/sh", "user:x:1000:1000::/home/user:/bin/sh"
	for _, c := range [][3]string{
		{"", "1000", user + "\n"},
		{root, "1000", root + user + "\n"},
		{root + ubuntu, "1000", root + user + "\n" + ubuntu + "\n"},
		{root + ubuntu + "\n", "", root + ubuntu + "\n" + user + "\n"},
	} {
		if got := inserted(c[0], user, c[1]); got != c[2] {
			t.Errorf("%q becomes %q", c[0], got)
		}
	}
}
