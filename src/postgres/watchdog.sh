# Runs a private PostgreSQL for the program that holds the other end of standard input.
#
# It takes one order a line and answers each with the exit status on a line of its own. When the orders end, for whatever
# reason, it stops the server and removes the folder. Orders are carried out one after the other, so an end that comes
# while the server is being made or started is seen as soon as that is done: it cannot be missed.
#
# Usage: sh -c "$this" watchdog BIN FOLDER

# It outlives every signal that a terminal or a service manager sends to the whole group: it ends after its parent.
# PIPE, so that an answer which nobody hears any more does not end it before it has cleaned up.
trap '' HUP INT PIPE QUIT TERM

bin=$1
folder=$2

control() {
    "$bin/pg_ctl" "$1" --pgdata="$folder/data" --log="$folder/server.log" --silent --wait --mode="$2"
}

while read -r order; do
    case $order in
    initialize)
        "$bin/initdb" --pgdata="$folder/data" --username=sweeper --auth=trust --encoding=UTF8 --locale=C.UTF-8 --no-sync &&
            cp "$folder/postgresql.conf" "$folder/data/postgresql.conf"
        ;;
    restart)
        # Nothing to stop is no fault.
        control stop fast >/dev/null 2>&1
        control start fast
        ;;
    stop-immediately) control stop immediate ;;
    esac </dev/null >"$folder/order.log" 2>&1
    echo $?
done

control stop immediate </dev/null >/dev/null 2>&1
rm -rf "$folder"
