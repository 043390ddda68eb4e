# SPDX-License-Identifier: Apache-2.0 OR MIT
# Has the askers of /etc/storm ask at the same moment: a line each, the uid and the
# asker's arguments. Writes "answer" and what each prints, and what is left when all have
# been answered.

count=$(wc -l </etc/storm)
# The kernel would complain of askers, who sleep for as long as they wait.
echo 0 >/proc/sys/kernel/hung_task_timeout_secs
mkfifo -m 644 /tmp/gate
: >/tmp/answers
chmod 666 /tmp/answers

# The gate is open for writing as long as this has it, and so nobody sees its end.
exec 7<>/tmp/gate
for uid in $(cut -d ' ' -f 1 /etc/storm | sort -u); do
    # shellcheck disable=SC2016
    /usr/bin/setpriv --reuid "$uid" --regid "$uid" --clear-groups sh -c '
        grep "^$1 " /etc/storm | while read -r _ arguments; do
            /usr/bin/asker $arguments </tmp/gate >>/tmp/answers 2>&1 7>&- &
        done
    ' sh "$uid"
done

# wait_for COUNT SECONDS: until there are so many lines.
wait_for() {
    seconds=0
    until [ "$(wc -l </tmp/answers)" -ge "$1" ]; do
        if [ "$seconds" -ge "$2" ]; then
            echo "only $(wc -l </tmp/answers) lines of $1" >&2
            grep -v '^ready$' /tmp/answers >&2
            exit 1
        fi
        seconds=$((seconds + 1))
        sleep 1
    done
}
wait_for "$count" 120
exec 7>&-
wait_for $((2 * count)) 500

sed -n '/^ready$/!s/^/answer /p' /tmp/answers
sed 's/^/keys /' /proc/key-users
loaded sessions '\2'
