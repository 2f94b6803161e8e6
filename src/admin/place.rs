//! Place: where the room is if nobody has said it.
//!
//! Duty: the paths that a broker tries, and who asks it after it, in this order. Must not: open one. Neighbours: `admin` listens there,
//! `client` asks there.

use std::path::{Path, PathBuf};

/// The folder of a broker that the system has started.
const FOLDER: &str = "/run/ringmq";

/// A socket in the folder that systemd has made for this process (`RuntimeDirectory=`), in that of the system, in that of the user.
pub(super) fn usual_sockets() -> Vec<PathBuf> {
    let variable = |name: &str| std::env::var(name).ok().filter(|value| value.starts_with('/'));
    sockets(variable("RUNTIME_DIRECTORY").as_deref(), variable("XDG_RUNTIME_DIR").as_deref())
}

/// `of_service` may name several folders, with colons between them.
fn sockets(of_service: Option<&str>, of_user: Option<&str>) -> Vec<PathBuf> {
    let first = of_service.and_then(|folders| folders.split(':').next());
    let of_broker = [first, Some(FOLDER)].into_iter().flatten().map(|folder| Path::new(folder).join("admin.sock"));
    let of_user = of_user.map(|folder| Path::new(folder).join("ringmq-admin.sock"));
    let mut sockets: Vec<_> = of_broker.chain(of_user).collect();
    sockets.dedup();
    sockets
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_has_its_own_folder_before_that_of_the_system_and_of_the_user() {
        let paths = |of_service, of_user| {
            let sockets = sockets(of_service, of_user);
            sockets.iter().map(|path| path.to_str().unwrap().to_owned()).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(paths(None, None), "/run/ringmq/admin.sock");
        assert_eq!(paths(Some("/run/ringmq"), None), "/run/ringmq/admin.sock");
        assert_eq!(
            paths(Some("/run/mqtt:/run/x"), Some("/run/user/7")),
            "/run/mqtt/admin.sock /run/ringmq/admin.sock /run/user/7/ringmq-admin.sock"
        );
    }
}
