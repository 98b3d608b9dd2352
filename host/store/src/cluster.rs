//! A throw-away Postgres for tests.
