#!/usr/bin/env bash
# certificates.sh FOLDER: for trying TLS: an authority (ca.pem), a server at 127.0.0.1 that it knows (server.pem, server.key), a
# client named `client` (client.pem, client.key), and an authority that nobody has heard of (stranger.pem). Good for two days.
set -euo pipefail
cd "$1"
command -v openssl >/dev/null || { echo "certificates.sh: openssl is missing" >&2; exit 1; }

for authority in ca stranger; do
    openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj "/CN=$authority" -keyout "$authority.key" -out "$authority.pem" 2>/dev/null
done
# issue NAME EXTENSION
issue() {
    openssl req -newkey rsa:2048 -nodes -subj "/CN=$1" -keyout "$1.key" -out "$1.csr" 2>/dev/null
    openssl x509 -req -in "$1.csr" -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile <(echo "$2") -out "$1.pem" 2>/dev/null
}
issue server "subjectAltName=IP:127.0.0.1"
issue client "extendedKeyUsage=clientAuth"
