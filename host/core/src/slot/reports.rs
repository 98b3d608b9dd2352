//! What others report about a slot's runs. Whatever names another run than the present one is an echo, or a stray to be killed.

use super::{
    Phase, Process, Slot,
    ending::Ending,
    service::{About, Service},
};
use crate::{
    event::{Evidence, Exit, Sample, SlotEvent},
    failure::Failure,
    id::Run,
    planted::{Bugs, Planted},
    policy::PolicyAnswer,
    spec::InstanceSpec,
    step::{DesiredState, Step},
    time::Since,
};

impl Slot {
    /// Takes in what is reported about one of its runs. True: the present run has answered something that was no caller's request.
    pub(crate) fn report(
        &mut self,
        step: &mut Step<'_>,
        desired: DesiredState<'_>,
        run: Run,
        event: SlotEvent,
    ) -> bool {
        match event {
            SlotEvent::Ready { tools } => return self.ready(step, desired, run, tools),
            SlotEvent::PingAnswered { rtt_ms } => {
                return self.ping_answered(step.now_ms, run, rtt_ms);
            }
            SlotEvent::Spawned { pid } => self.spawned(step, run, pid),
            SlotEvent::SpawnFailed { error } => self.spawn_failed(step, desired, run, error),
            SlotEvent::HandshakeFailed { error } => {
                self.handshake_failed(step, desired, run, error);
            }
            SlotEvent::ToolsListed { tools } => self.tools_listed(step, run, tools),
            SlotEvent::Exited { exit, evidence } => {
                self.exited(step, desired, run, exit, evidence);
            }
            SlotEvent::ShimLost => self.shim_lost(step, run),
            SlotEvent::UpstreamLost { error } => self.upstream_lost(step, desired, run, error),
            SlotEvent::Drained => self.drained(step, run),
            SlotEvent::Sampled { sample } => self.sampled(step, desired, run, sample),
            SlotEvent::PingFailed => self.ping_failed(step.now_ms, run),
        }
        false
    }

    fn spawned(&mut self, step: &mut Step<'_>, run: Run, pid: u32) {
        if self.is_current(run) {
            if let Some(process) = self.process_mut() {
                process.pid = Some(pid);
            }
        } else if self.last_ended < Some(run) {
            self.stray(step, run);
        }
    }

    fn spawn_failed(
        &mut self,
        step: &mut Step<'_>,
        desired: DesiredState<'_>,
        run: Run,
        error: String,
    ) {
        if !self.is_current(run) {
            return;
        }
        let Some(process) = self.process().cloned() else {
            return;
        };
        let (failure, forgiven) = match std::mem::replace(&mut self.phase, Phase::Down) {
            Phase::Starting(..) => (Some(Failure::Spawn(error)), false),
            Phase::Stopping(_, stop) => (stop.failure, stop.forgiven),
            _ => (None, false),
        };
        let ending = Ending {
            failure,
            exit: None,
            evidence: Evidence::default(),
            forgiven,
        };
        self.ended(step, desired, &process, ending);
    }

    fn ready(
        &mut self,
        step: &mut Step<'_>,
        desired: DesiredState<'_>,
        run: Run,
        tools: Vec<String>,
    ) -> bool {
        let Phase::Starting(process, _) = &self.phase else {
            return false;
        };
        if process.run != run && !step.bugs.has(Planted::StaleReady) {
            return false;
        }
        let process = process.clone();
        self.used(step.now_ms);
        self.become_ready(step, desired, process, tools, 0);
        self.set_reason(String::new(), None);
        !step.bugs.has(Planted::ReadyIsNoAnswer)
    }

    /// The tools are compared with the last good list, which a list that lacks none of them replaces. A survivor of another
    /// definition is not compared: it is only taken over to be stopped.
    pub(super) fn become_ready(
        &mut self,
        step: &mut Step<'_>,
        desired: DesiredState<'_>,
        mut process: Process,
        tools: Vec<String>,
        age_ms: u64,
    ) {
        let tools = sorted(tools);
        let mut missing = Vec::new();
        if process.digest == self.digest {
            missing = lacking(&tools, self.baseline.as_deref().unwrap_or_default());
            if step.bugs.has(Planted::ShrinkIsFine) {
                missing.clear();
            }
            if missing.is_empty() {
                self.baseline = Some(tools.clone());
            }
            process.keep_baseline(step, &self.key, self.baseline.as_deref());
        }
        process.ready = Some(Since::ago(step.now_ms, age_ms));
        let mut service = Service::new(step.now_ms, tools, missing, step.settings.ping_every_ms);
        let about = About {
            key: &self.key,
            uptime_ms: age_ms,
            memory_limit_bytes: desired.spec.max_memory_bytes,
            restarts_recent: self.restarts_recent(step.now_ms),
        };
        service.answer_builtin(step.now_ms, &about);
        self.recycling = false;
        self.phase = Phase::Ready(process, Box::new(service));
    }

    fn handshake_failed(
        &mut self,
        step: &mut Step<'_>,
        desired: DesiredState<'_>,
        run: Run,
        error: String,
    ) {
        if self.is_current(run) && matches!(self.phase, Phase::Starting(..)) {
            let failure = Failure::Handshake(error);
            let reason = failure.describe(None);
            self.stop(step, desired, Some(failure), reason);
        }
    }

    fn tools_listed(&mut self, step: &mut Step<'_>, run: Run, tools: Vec<String>) {
        let now_ms = step.now_ms;
        let tools = sorted(tools);
        if let Phase::Ready(process, service) = &mut self.phase
            && process.run == run
        {
            if *service.tools != *tools {
                service.tools = tools.as_slice().into();
            }
            service.clear_missing(now_ms);
            process.keep_baseline(step, &self.key, Some(&tools));
            self.baseline = Some(tools);
        }
    }

    fn exited(
        &mut self,
        step: &mut Step<'_>,
        desired: DesiredState<'_>,
        run: Run,
        exit: Exit,
        evidence: Evidence,
    ) {
        self.strays.retain(|stray| stray.run != run);
        if !self.is_current(run) {
            return;
        }
        let Some(process) = self.process().cloned() else {
            return;
        };
        let (failure, forgiven) = match std::mem::replace(&mut self.phase, Phase::Down) {
            Phase::Starting(..) => (Some(Failure::Exited { was_ready: false }), false),
            Phase::Ready(..) => (Some(Failure::Exited { was_ready: true }), false),
            Phase::Stopping(_, stop) => (stop.failure, stop.forgiven),
            Phase::Down | Phase::Backoff { .. } | Phase::CrashLoop { .. } | Phase::Released(_) => {
                (None, false)
            }
        };
        let ending = Ending {
            failure,
            exit: Some(exit),
            evidence,
            forgiven,
        };
        self.ended(step, desired, &process, ending);
    }

    fn shim_lost(&mut self, step: &mut Step<'_>, run: Run) {
        if self.is_current(run) {
            let failure = Failure::ShimLost;
            let reason = failure.describe(None);
            self.kill(step, failure, reason);
        }
    }

    fn upstream_lost(
        &mut self,
        step: &mut Step<'_>,
        desired: DesiredState<'_>,
        run: Run,
        error: String,
    ) {
        if self.is_current(run) {
            let failure = Failure::UpstreamLost(error);
            let reason = failure.describe(None);
            // A run that is being stopped may well close its end first; what was in flight on it has ended with it.
            self.drained(step, run);
            self.stop(step, desired, Some(failure), reason);
        }
    }

    fn drained(&mut self, step: &mut Step<'_>, run: Run) {
        if let Phase::Stopping(process, stop) = &self.phase
            && process.run == run
            && matches!(stop.at, super::stop::At::Draining { .. })
        {
            self.stop_further(step);
        }
    }

    fn sampled(
        &mut self,
        step: &mut Step<'_>,
        desired: DesiredState<'_>,
        run: Run,
        sample: Sample,
    ) {
        if !self.is_current(run) {
            return;
        }
        let memory_bytes = sample.memory_bytes;
        let passed = limit_passed(desired.spec, &sample, step.bugs);
        let now_ms = step.now_ms;
        if let Some(process) = self.process_mut() {
            process.memory_bytes = memory_bytes.or(process.memory_bytes);
        }
        if let Phase::Ready(_, service) = &mut self.phase {
            service.sampled(now_ms, sample);
        }
        if let Some(failure) = passed {
            if !self.is_being_killed() {
                let reason = failure.describe(None);
                self.kill(step, failure, reason);
            }
            return;
        }
        let (Some(bytes), Some(limit_bytes)) = (memory_bytes, desired.spec.max_memory_bytes) else {
            return;
        };
        let is_much = bytes as f64 >= limit_bytes as f64 * step.settings.memory_recycle_share;
        if is_much && !step.bugs.has(Planted::MemoryNotRecycled) {
            let mib = |bytes: u64| bytes / (1024 * 1024);
            let reason = format!(
                "{} MiB of {} MiB memory are in use",
                mib(bytes),
                mib(limit_bytes)
            );
            self.recycle(step, desired, &reason);
        }
    }

    fn is_being_killed(&self) -> bool {
        matches!(&self.phase, Phase::Stopping(_, stop) if matches!(stop.at, super::stop::At::Killing { .. }))
            || matches!(self.phase, Phase::Released(_))
    }

    fn ping_answered(&mut self, now_ms: u64, run: Run, rtt_ms: f64) -> bool {
        if let Phase::Ready(process, service) = &mut self.phase
            && process.run == run
        {
            service.ping_answered(now_ms, rtt_ms);
            return true;
        }
        false
    }

    fn ping_failed(&mut self, now_ms: u64, run: Run) {
        if let Phase::Ready(process, service) = &mut self.phase
            && process.run == run
        {
            service.ping_failed(now_ms);
        }
    }

    /// Takes in what policies answered to the open question.
    pub(crate) fn answered(
        &mut self,
        step: &mut Step<'_>,
        desired: DesiredState<'_>,
        answers: Vec<PolicyAnswer>,
    ) {
        let restarts_recent = self.restarts_recent(step.now_ms);
        if let Phase::Ready(process, service) = &mut self.phase {
            let about = About {
                key: &self.key,
                uptime_ms: process.uptime_ms(step.now_ms),
                memory_limit_bytes: desired.spec.max_memory_bytes,
                restarts_recent,
            };
            service.answered(step, &about, answers);
        }
        self.apply_verdict(step, desired);
    }

    /// Recycles where the present verdict asks for it, and then not again for that verdict. Where as many are being recycled as may
    /// be at once, it serves on; the next verdict may ask again.
    pub(super) fn apply_verdict(&mut self, step: &mut Step<'_>, desired: DesiredState<'_>) {
        let Phase::Ready(_, service) = &mut self.phase else {
            return;
        };
        if !std::mem::take(&mut service.verdict.recycle) {
            return;
        }
        let reason = &mut service.verdict.reason;
        if step.recycles_left == 0 && !step.bugs.has(Planted::AllRecycled) {
            reason.push_str(
                "; not recycled yet: as many as policy.max_recycling allows are being recycled",
            );
            return;
        }
        let reason = reason.clone();
        let judged = service.judged.clone();
        if self.recycle(step, desired, &reason) {
            self.recycled_by = judged;
            step.recycles_left = step.recycles_left.saturating_sub(1);
            self.recycling = true;
        }
    }

    /// Drains and starts anew, unless that was done not long ago. Whether it does.
    fn recycle(&mut self, step: &mut Step<'_>, desired: DesiredState<'_>, reason: &str) -> bool {
        let every_ms = step.settings.recycle_every_ms;
        let too_soon = self
            .last_recycle_ms
            .is_some_and(|at_ms| at_ms.saturating_add(every_ms) > step.now_ms);
        let obeyed = !too_soon || step.bugs.has(Planted::RecycleUnbounded);
        let obeyed = obeyed && !desired.unclaimed && matches!(self.phase, Phase::Ready(..));
        if obeyed {
            self.last_recycle_ms = Some(step.now_ms);
            self.stop(step, desired, None, format!("recycled: {reason}"));
        }
        obeyed
    }
}

/// The limit that a run is past, as a failure.
fn limit_passed(spec: &InstanceSpec, sample: &Sample, bugs: Bugs) -> Option<Failure> {
    let memory = sample.memory_bytes.zip(spec.max_memory_bytes);
    let memory = memory
        .filter(|(bytes, limit_bytes)| bytes >= limit_bytes && !bugs.has(Planted::MemoryIgnored))
        .map(|(bytes, limit_bytes)| Failure::Memory { bytes, limit_bytes });
    let count = sample.processes;
    let processes = spec
        .max_processes
        .filter(|limit| count > *limit && !bugs.has(Planted::ProcessesIgnored))
        .map(|limit| Failure::Processes { count, limit });
    memory.or(processes)
}

pub(super) fn sorted(mut tools: Vec<String>) -> Vec<String> {
    tools.sort_unstable();
    tools.dedup();
    tools
}

/// What sorted `baseline` has and sorted `tools` lacks.
fn lacking(tools: &[String], baseline: &[String]) -> Vec<String> {
    let lacks = |tool: &&String| tools.binary_search(tool).is_err();
    baseline.iter().filter(lacks).cloned().collect()
}
