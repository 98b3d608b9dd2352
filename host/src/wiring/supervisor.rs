//! The supervisor's options.

use router_config::Config;
use router_supervisor::{DataDir, SupervisorConfig};

/// How shims are started and what they keep.
pub(crate) fn options(config: &Config, data_dir: &DataDir) -> SupervisorConfig {
    let instances = &config.instances;
    SupervisorConfig {
        log_bytes_max: instances.logs.max_file_bytes,
        log_files_max: instances.logs.max_files,
        epoch: data_dir.epoch(),
        memory_interval: instances.memory_interval,
        router_exit_grace: instances.router_exit_grace,
        use_cgroup: instances.use_cgroup,
        ..SupervisorConfig::new(
            &instances.socket_dir,
            config.logging.instances_dir(),
            data_dir.router_id(),
        )
    }
}
