# shellcheck shell=bash
# For `source`: a renewd of one's own, ended by its pid.

server_pid=
server_url=

# start_server BINARY FOLDER: runs it in FOLDER with the environment's settings; sets server_url.
start_server() {
  (cd "$2" && exec "$1" >server.out 2>server.err) &
  server_pid=$!
  for _ in {1..300}; do
    server_url=$(sed -n 's|^renewd .* serves \(http://.*\)$|\1|p' "$2/server.out" 2>/dev/null || true)
    [[ -n $server_url ]] && return
    kill -0 "$server_pid" 2>/dev/null || break
    sleep 0.1
  done
  echo "the server does not start:" >&2
  cat "$2/server.err" >&2
  return 1
}

# Asks the server to end. One that does not end by itself, or not well, is a failure.
stop_server() {
  local pid=$server_pid
  kill -TERM "$pid"
  for _ in {1..150}; do
    if ! kill -0 "$pid" 2>/dev/null; then
      server_pid=
      wait "$pid" || { echo "the server ends with status $?" >&2; return 1; }
      return
    fi
    sleep 0.1
  done
  echo "the server does not end" >&2
  return 1
}

# For a trap: nothing is left behind, whatever went wrong before.
kill_server() {
  if [[ -n $server_pid ]]; then
    kill -KILL "$server_pid" 2>/dev/null || true
    wait "$server_pid" 2>/dev/null || true
    server_pid=
  fi
}
