# shellcheck shell=bash
# Shared by the scripts: PostgreSQL's programs, installed where they are missing, and a throw-away server.
# To be sourced from a script that runs in the repository's top folder.
# shellcheck source=script/lib/packages.sh
source script/lib/packages.sh

# Prints the folder with the programs of the newest PostgreSQL, 15 or later; fails where there is none.
postgresql_programs() {
    local folder newest=""
    while IFS= read -r folder; do
        if [[ -x $folder/initdb && -x $folder/pg_ctl && -x $folder/postgres ]]; then
            newest=$folder
        fi
    done < <(find /usr/lib/postgresql -mindepth 2 -maxdepth 2 -path '*/1[5-9]/bin' -o -path '*/[2-9][0-9]/bin' 2>/dev/null | sort -V)
    [[ -n $newest ]] && printf '%s\n' "$newest"
}

# Installs PostgreSQL where it is missing, without the server that Debian would start along with it.
require_postgresql() {
    if postgresql_programs >/dev/null; then
        return
    fi
    if ! can_install; then
        echo "PostgreSQL 15 or later is missing, and this script can install it only with apt-get, as root or with sudo." >&2
        return 1
    fi
    echo "Installing PostgreSQL."
    local settings=/etc/postgresql-common/createcluster.conf
    if [[ ! -e $settings ]]; then
        as_root mkdir -p "${settings%/*}"
        echo "create_main_cluster = false" | as_root tee "$settings" >/dev/null
    fi
    install_packages postgresql
    if ! postgresql_programs >/dev/null; then
        echo "The system's package archive has no PostgreSQL 15 or later: install one from the PostgreSQL project's archive." >&2
        return 1
    fi
}

# Runs a command as the user who may run the server: PostgreSQL refuses to run as root.
as_server_user() {
    if [[ $(id -u) -eq 0 ]]; then runuser -u postgres -- "$@"; else "$@"; fi
}

# Starts a throw-away server in this folder, which must be empty; reached through its socket there, as user "postgres".
start_throw_away_postgresql() {
    local folder=$1 programs
    programs=$(postgresql_programs)
    if [[ $(id -u) -eq 0 ]]; then chown postgres "$folder"; fi
    as_server_user "$programs/initdb" --pgdata="$folder/data" --username=postgres --auth=trust --encoding=UTF8 \
        --locale=C.UTF-8 --no-sync >"$folder.log"
    as_server_user "$programs/pg_ctl" start --silent --wait --pgdata="$folder/data" --log="$folder/data/server.log" \
        --options="-c listen_addresses='' -c unix_socket_directories='$folder' -c fsync=off"
}

# Stops that server and removes its folder; harmless where it never started.
remove_throw_away_postgresql() {
    local folder=$1 programs
    programs=$(postgresql_programs) || return 0
    as_server_user "$programs/pg_ctl" stop --silent --mode=immediate --pgdata="$folder/data" >/dev/null 2>&1 || true
    rm -rf "$folder" "$folder.log"
}
