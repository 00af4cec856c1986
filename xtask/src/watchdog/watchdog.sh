# Runs a command that must not outlive the process at the other end of stdin.
#
#   sh -c THIS watchdog SIGNAL TENTHS FOLDER COMMAND [ARGUMENT]...
#
# This shell leads a process group of its own. When stdin reaches its end, because the owner closed it or died in any
# way whatever, the group gets SIGNAL, and KILL when it is still there after TENTHS tenths of a second. FOLDER, unless
# empty, is removed at the end.
signal=$1
tenths=$2
folder=$3
shift 3
exec 3<&0 </dev/null
trap : HUP INT QUIT TERM

remove() {
  if [ -n "$folder" ]; then rm -rf -- "$folder"; fi
}

(
  trap : HUP INT QUIT TERM
  read -r _ <&3
  kill -s "$signal" -- "-$$" 2>/dev/null
  while [ "$tenths" -gt 0 ] && kill -0 "$$" 2>/dev/null; do
    sleep 0.1
    tenths=$((tenths - 1))
  done
  remove
  kill -s KILL -- "-$$" 2>/dev/null
) &
reader=$!

"$@" 3<&-
status=$?

kill -s KILL "$reader" 2>/dev/null
# What the command left behind ends with it.
kill -s TERM -- "-$$" 2>/dev/null
remove
exit "$status"
