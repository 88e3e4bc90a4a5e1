//! Connections that wait for the next request.

use crate::net::http::connection::{Connection, Traffic};
use std::sync::{Arc, Mutex, PoisonError};

/// Connections that are kept at most.
const IDLE_MAX: usize = 8;

/// Connections without a request, the last used last.
#[derive(Default)]
pub struct Pool {
    idle: Mutex<Vec<Connection>>,
    pub traffic: Arc<Traffic>,
}

impl Pool {
    /// A connection along `route` that still seems to stand.
    pub fn take(&self, route: &str) -> Option<Connection> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some(at) = idle.iter().rposition(|connection| connection.route == route) {
            let connection = idle.remove(at);
            if connection.is_quiet() {
                return Some(connection);
            }
        }
        None
    }

    pub fn put(&self, connection: Connection) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() == IDLE_MAX {
            idle.remove(0);
        }
        idle.push(connection);
    }
}
