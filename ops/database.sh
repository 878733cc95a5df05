#!/bin/sh
# Makes the bot's database and its role when the server is first started: a role that owns its database and nothing else.
# Only a superuser can have PostgreSQL run programs or read files, so there is none that can sign in over the network.
set -eu
psql --no-psqlrc --set ON_ERROR_STOP=1 --username "$POSTGRES_USER" --dbname postgres <<'SQL'
\getenv password POSTGRES_PASSWORD
\getenv owner POSTGRES_USER
SET password_encryption = 'scram-sha-256';
CREATE ROLE revenant LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION PASSWORD :'password';
CREATE DATABASE revenant OWNER revenant;
REVOKE CONNECT ON DATABASE revenant FROM PUBLIC;
ALTER ROLE :"owner" PASSWORD NULL;
SQL
