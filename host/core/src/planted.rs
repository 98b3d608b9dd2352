//! Bugs that the simulation must find. Outside the crate's own tests `has` is a constant `false`, and nothing of them is left.

/// Deliberate bugs: at least one for each property that the simulation checks (`simulation/property.rs` says which).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Planted {
    /// A killed run counts as ended before its end is reported.
    SpawnBeforeExit,
    /// The run of a restart is the run before it.
    RunReused,
    /// Slots are started while survivors may still be reported.
    StartBeforeAdoption,
    /// `Ready` of any run is believed.
    StaleReady,
    /// Back-off ends, but nobody starts the slot.
    BackoffNeverEnds,
    /// A survivor that the router before was stopping is not started again, although it is wanted.
    AdoptionForgetsIntent,
    /// A survivor that only the lost database can define is stopped.
    UnclaimedStopped,
    /// Readiness ignores what can be neither ended nor started.
    StuckIsFine,
    /// What is being stopped is called stuck before its requests have had their time.
    OverdueEarly,
    /// Readiness believes that each try of a crashing instance is its cure.
    RetryIsFine,
    /// Every pause is twice as long as it should be.
    BackoffTooLong,
    /// One failure fewer than allowed is a crash loop.
    CrashLoopEarly,
    /// Failures are never forgotten, however long it served.
    NeverForgets,
    /// A crash leaves no evidence.
    CrashUnrecorded,
    /// A manual restart waits for back-off and crash loop.
    RestartLimited,
    /// Demand starts what an operator stopped.
    DemandBeatsStop,
    /// A restart that a stop overtakes is never answered.
    CommandLost,
    /// A start may take for ever, and a client that waits for it with it.
    StartUnbounded,
    /// Verdicts on probes are ignored.
    DeafHalfOpen,
    /// Verdicts of an earlier generation count.
    StaleVerdict,
    /// The end of OPEN never reaches the cell.
    CellForgotten,
    /// OPEN lasts a quarter longer than it should.
    OpenTooLong,
    /// One quiet time makes the next OPEN a first one, however often it has opened.
    StepsForgotten,
    /// Callers probe an instance that has answered nothing yet.
    ProbedUnasked,
    /// An instance that does not answer at once is not asked again.
    AskedOnce,
    /// That an instance became ready is no answer.
    ReadyIsNoAnswer,
    /// A verdict on one tool is one on all tools of its instance.
    ToolTripsAll,
    /// A failed call of a tool that has a breaker of its own counts against the instance too.
    ToolBlamesInstance,
    /// Breakers that opened together have one cause for ever.
    SharedCauseStays,
    /// That they do is said only where it changes the word of readiness.
    SharedCauseUnsaid,
    /// One permit too many.
    ExtraPermit,
    /// The permit of an overdue probe is lost.
    PermitLost,
    /// A question can be answered twice.
    AnsweredTwice,
    /// Of several policies the last one's verdict counts, however bad another's is.
    LastAnswerCounts,
    /// A question without an answer stays open.
    QuestionNeverEnds,
    /// Where a policy gives no answer, its verdict before stands.
    DefaultForgotten,
    /// A question for a breaker's plan stays open without an answer.
    PlanQuestionNeverEnds,
    /// The answer to a question for a plan counts although the policy was swapped meanwhile.
    VoidPlanTaken,
    /// A policy is not asked again however its instance's calls change.
    ProfileChangeIgnored,
    /// It is asked again whenever they are measured.
    AskedAtEachSample,
    /// A swapped breaker policy is not asked.
    PlansNotAskedAnew,
    /// Every instance is asked about at once.
    PlanQuestionsUnbounded,
    /// A breaker's plan that is out of bounds is applied.
    BreakerPlanUnchecked,
    /// What a plan would do that is only observed is not seen.
    ObservedBlind,
    /// A plan that is to be observed is applied.
    ObservedPlanEnforced,
    /// Where a policy gives no answer, its plan before is given up.
    PlanLostUnanswered,
    /// A plan closes the breaker that it is for.
    PlanResetsBreaker,
    /// What a plan says of the ends of requests never reaches the hot path.
    ClassesForgotten,
    /// A policy may recycle as often as it likes.
    RecycleUnbounded,
    /// A policy may recycle everything at once.
    AllRecycled,
    /// Memory at the limit is tolerated.
    MemoryIgnored,
    /// So are more processes than allowed.
    ProcessesIgnored,
    /// Memory at 90 % is no reason to recycle.
    MemoryNotRecycled,
    /// SIGTERM comes together with the request to drain.
    DrainSkipped,
    /// The kill comes together with SIGTERM.
    GraceSkipped,
    /// A slot without use goes on running.
    IdleForgotten,
    /// A tool list that lacks tools is as good as the one before.
    ShrinkIsFine,
    /// A run is believed to have the baseline of the one before it kept with it.
    BaselineNotKept,
    /// Clearing an instance's state leaves it in back-off or crash loop.
    ClearKeepsBackoff,
    /// It leaves the crash evidence.
    ClearKeepsEvidence,
    /// It leaves the tools that are missing.
    ClearKeepsMissing,
    /// It leaves a breaker OPEN.
    ClearKeepsOpen,
    /// A reload restarts what did not change.
    ReloadRestarts,
    /// A reload does not restart what changed.
    ReloadIgnored,
    /// A route outlives its run.
    RouteOutlivesRun,
    /// Draining instances are in no part of the summary.
    SummaryGap,
    /// Readiness says `down` at once.
    DownAtOnce,
    /// A lost database is no news.
    DatabaseIgnored,
    /// Nor is a policy that is not there.
    PolicyFaultIgnored,
    /// Readiness does not see that alerts are not kept.
    JournalIgnored,
    /// The deadline of SIGTERM is in no wake time.
    WakeMissed,
    /// A wake time stays in the past once it has come.
    WakeInThePast,
    /// A slot that is starting at shutdown is forgotten.
    ShutdownForgetsStarting,
    /// A router of which nothing lives ends, although nobody asked for it.
    EndsUnasked,
    /// An order that waits for a start is forgotten at shutdown.
    OrderForgottenAtEnd,
    /// `keep` is not honoured at shutdown.
    KeepIgnored,
    /// The load that a capacity policy is asked about leaves out the memory of instances.
    LoadForgetsMemory,
    /// A fleet that changes waits for the next minute to be reckoned anew.
    ChangeUnasked,
    /// A start by use passes every limit.
    LimitIgnored,
    /// Who waits for a place is forgotten when there is one again.
    AdmissionForgotten,
    /// Of those that wait the last is admitted first.
    LastComesFirst,
    /// A wait for a place never ends, and so is nobody refused, nor tried again.
    RefusalStays,
    /// A question without an answer ends the capacity plan that is in force.
    PlanForgotten,
    /// A capacity plan is applied whatever it says.
    PlanUnchecked,
    /// A new generation of a policy is applied without a trial.
    TrialSkipped,
    /// A trial waits for ever for an answer.
    TrialNeverEnds,
    /// However much a candidate would take away, it is not held.
    NothingHeld,
    /// What a generation in force takes away is not counted.
    RoundsUnwatched,
    /// That a generation is held is no news.
    HeldUnsaid,
    /// The answers to open questions count although the generation that gives them is held meanwhile.
    HeldAnswersCount,
    /// New settings wait for the next event of each instance.
    SettingsUnnoticed,
}

/// Which bug is in, if any.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(crate) struct Bugs {
    #[cfg(test)]
    pub(crate) planted: Option<Planted>,
}

impl Bugs {
    #[cfg(test)]
    pub(crate) fn has(self, bug: Planted) -> bool {
        self.planted == Some(bug)
    }

    #[cfg(not(test))]
    pub(crate) const fn has(self, _bug: Planted) -> bool {
        false
    }
}
