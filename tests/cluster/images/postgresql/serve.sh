# Make the database in /data, unless it is there, and serve it.
set -eu
if [ ! -s /data/db/PG_VERSION ]; then
    printf %s "$POSTGRES_PASSWORD" >/tmp/password
    initdb --pgdata=/data/db --username=mlflow --pwfile=/tmp/password --auth=scram-sha-256 --encoding=UTF8 >/tmp/initdb.log
    echo "host all all all scram-sha-256" >>/data/db/pg_hba.conf
fi
exec postgres -D /data/db -c listen_addresses='*' -c unix_socket_directories=/tmp
