//! The catalogue: what the simulation checks after every step, and which planted bug breaks which of it.

use crate::planted::Planted;

/// What must hold at every step of every fleet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Property {
    /// Never two live processes for one slot.
    OneProcess,
    /// Every run id is greater than all before it.
    RunsGrow,
    /// Nothing is started before every survivor was reported.
    AdoptionFirst,
    /// A slot is ready only when the very process that fills it answered its handshake.
    ReadyIsReal,
    /// No slot stays down, nor loses the wish to run, while it is wanted and may start.
    NotLeftDown,
    /// Pauses double from 1 s to 60 s (as configured), within their jitter.
    BackoffBounds,
    /// Crash loop exactly by its rule, judged by a tally of the simulation's own.
    CrashLoopRule,
    /// A run that dies while wanted leaves evidence, once.
    CrashRecorded,
    /// A manual restart meets no limiter.
    RestartBypasses,
    /// What an operator stopped stays stopped until an operator starts it.
    StaysStopped,
    /// A command is answered exactly once, and its answer is true.
    CommandsAnswered,
    /// A client that waits for a start is answered by the deadline that was published.
    WaitersAnswered,
    /// HALF_OPEN ends with the first bad verdict, or with enough good ones.
    HalfOpenEnds,
    /// HALF_OPEN admits nobody before the instance has answered something free, or become ready.
    AskedFirst,
    /// While HALF_OPEN waits for an answer, every ready slot is asked for one at once and every 5 s, and the first answer, or a
    /// start that succeeds, lets callers in.
    NoneStuck,
    /// The breaker changes its state for its reasons only, and OPEN ends by the clock.
    BreakerRule,
    /// A tool's breaker changes its state for its own reasons only.
    ToolsApart,
    /// What the hot path reads is what the core decided.
    CellAgrees,
    /// The first OPEN lasts 30 to 34 s (as configured), later ones double up to the ceiling; each quiet time takes one off.
    OpenBounds,
    /// Never more probes at once than permitted.
    Permits,
    /// A permit comes back, at the latest when its probe is overdue.
    PermitsReturn,
    /// A question ends once: answered, refused or timed out; where there is no answer the default stands.
    QuestionEnds,
    /// Of several policies the worst verdict counts, and its reason names its policy.
    WorstCounts,
    /// A breaker policy is asked when its instance appears, when what it is asked by is other, when its calls have changed much
    /// (once a minute at most) and after a swap; and only then.
    PlanAsked,
    /// A question for a plan ends once: answered, timed out or void.
    PlanQuestionEnds,
    /// So many questions for plans are open at once, and no more.
    PlanQuestionsBounded,
    /// The plan in force is the last one that the policy gave in bounds and to be applied; until there is one, the configuration.
    BreakerPlanInForce,
    /// A plan that is only observed opens a breaker of its own when it would open the real one, and only then.
    WouldBe,
    /// Capacity is reckoned anew once a minute, and soon after the fleet changed.
    CapacityAsked,
    /// The load that it is reckoned from is what people see.
    LoadTrue,
    /// What a capacity policy answered last is in force, unless it is no plan; what is none, or late, leaves the plan before.
    PlanInForce,
    /// No start by use passes a limit.
    LimitsKept,
    /// Nothing waits for a place, nor is refused one, without a limit that is really reached.
    RefusedForLimit,
    /// Who waits for a place is admitted in the order in which they came.
    WaitsInOrder,
    /// A start that was refused is tried again by the next request.
    RefusedTriedAgain,
    /// A new generation of a policy is tried before it is applied, and held where it would take away more than half of what serves.
    TrialDecides,
    /// A trial ends.
    TrialEnds,
    /// So is one in force that takes away as much in a later round.
    RoundsHeld,
    /// What is held does nothing: nobody waits for its answers.
    HeldHarmless,
    /// Readiness says what is held.
    HeldSaid,
    /// A policy recycles a slot only so often, and only so many at once.
    RecycleBound,
    /// A slot at its memory limit, or with more processes than it may have, is killed at once.
    LimitsHold,
    /// A slot at 90 % of its memory limit is recycled, unless it was not long ago.
    MemoryRecycles,
    /// No SIGTERM before what is in flight has ended or has had its time, no kill before SIGTERM has had its.
    StopInOrder,
    /// What has not been used for so long is stopped then.
    IdleInTime,
    /// A slot whose tool list lacks what the one before it had is degraded, and says what.
    ToolsCompared,
    /// Every ready run has the list that it is compared with kept with it, for the router that adopts it.
    BaselineKept,
    /// Clearing an instance's state leaves nothing of what failed, tripped or shrank, and no evidence of it.
    StateCleared,
    /// A reload stops what changed, and only that.
    ReloadExact,
    /// A route names a living, ready run, and every ready run has one.
    RouteTruth,
    /// The summary partitions the total.
    SummaryPartitions,
    /// The readiness word follows its rule.
    ReadinessRule,
    /// Breakers that open together are one condition of the fleet: announced once when it begins, and once when it is over.
    OneCause,
    /// No work is due before the wake time, and no wake time stays in the past.
    WakeHonest,
    /// Whatever was started ends stopped at shutdown, unless it is kept.
    StoppedAtEnd,
    /// The router ends only when it was asked to.
    EndsWhenAsked,
    /// No order is left unanswered by a router that ends.
    OrdersAnsweredAtEnd,
    /// What is to outlive the router is not harmed by its shutdown.
    Kept,
    /// An instance that a step did not touch, and for which nothing is due, would not have changed in it.
    StepWhole,
}

impl Property {
    pub(super) const ALL: [Self; 59] = [
        Self::OneProcess,
        Self::RunsGrow,
        Self::AdoptionFirst,
        Self::ReadyIsReal,
        Self::NotLeftDown,
        Self::BackoffBounds,
        Self::CrashLoopRule,
        Self::CrashRecorded,
        Self::RestartBypasses,
        Self::StaysStopped,
        Self::CommandsAnswered,
        Self::WaitersAnswered,
        Self::HalfOpenEnds,
        Self::AskedFirst,
        Self::NoneStuck,
        Self::BreakerRule,
        Self::ToolsApart,
        Self::CellAgrees,
        Self::OpenBounds,
        Self::Permits,
        Self::PermitsReturn,
        Self::QuestionEnds,
        Self::WorstCounts,
        Self::PlanAsked,
        Self::PlanQuestionEnds,
        Self::PlanQuestionsBounded,
        Self::BreakerPlanInForce,
        Self::WouldBe,
        Self::CapacityAsked,
        Self::LoadTrue,
        Self::PlanInForce,
        Self::LimitsKept,
        Self::RefusedForLimit,
        Self::WaitsInOrder,
        Self::RefusedTriedAgain,
        Self::TrialDecides,
        Self::TrialEnds,
        Self::RoundsHeld,
        Self::HeldHarmless,
        Self::HeldSaid,
        Self::RecycleBound,
        Self::LimitsHold,
        Self::MemoryRecycles,
        Self::StopInOrder,
        Self::IdleInTime,
        Self::ToolsCompared,
        Self::BaselineKept,
        Self::StateCleared,
        Self::ReloadExact,
        Self::RouteTruth,
        Self::SummaryPartitions,
        Self::ReadinessRule,
        Self::OneCause,
        Self::WakeHonest,
        Self::StoppedAtEnd,
        Self::EndsWhenAsked,
        Self::OrdersAnsweredAtEnd,
        Self::Kept,
        Self::StepWhole,
    ];
}

/// The planted bugs, each with a test of its own that it breaks the property named here and no other one first.
macro_rules! planted_bugs {
    ($($test:ident: $bug:ident breaks $property:ident;)*) => {
        pub(super) const BROKEN: &[Property] = &[$(Property::$property),*];

        /// That no bug is left without a test is the compiler's business.
        pub(super) fn broken_by(bug: Planted) -> Property {
            match bug {
                $(Planted::$bug => Property::$property,)*
            }
        }

        mod planted {
            $(#[test]
            fn $test() {
                super::super::must_notice(super::Planted::$bug);
            })*
        }
    };
}

planted_bugs! {
    spawn_before_exit: SpawnBeforeExit breaks OneProcess;
    run_reused: RunReused breaks RunsGrow;
    start_before_adoption: StartBeforeAdoption breaks AdoptionFirst;
    stale_ready: StaleReady breaks ReadyIsReal;
    backoff_never_ends: BackoffNeverEnds breaks NotLeftDown;
    adoption_forgets_intent: AdoptionForgetsIntent breaks NotLeftDown;
    unclaimed_stopped: UnclaimedStopped breaks NotLeftDown;
    stuck_is_fine: StuckIsFine breaks ReadinessRule;
    overdue_early: OverdueEarly breaks ReadinessRule;
    retry_is_fine: RetryIsFine breaks ReadinessRule;
    backoff_too_long: BackoffTooLong breaks BackoffBounds;
    crash_loop_early: CrashLoopEarly breaks CrashLoopRule;
    never_forgets: NeverForgets breaks CrashLoopRule;
    crash_unrecorded: CrashUnrecorded breaks CrashRecorded;
    restart_limited: RestartLimited breaks RestartBypasses;
    demand_beats_stop: DemandBeatsStop breaks StaysStopped;
    command_lost: CommandLost breaks CommandsAnswered;
    start_unbounded: StartUnbounded breaks WaitersAnswered;
    deaf_half_open: DeafHalfOpen breaks HalfOpenEnds;
    stale_verdict: StaleVerdict breaks BreakerRule;
    cell_forgotten: CellForgotten breaks CellAgrees;
    open_too_long: OpenTooLong breaks OpenBounds;
    steps_forgotten: StepsForgotten breaks OpenBounds;
    probed_unasked: ProbedUnasked breaks AskedFirst;
    asked_once: AskedOnce breaks NoneStuck;
    ready_is_no_answer: ReadyIsNoAnswer breaks NoneStuck;
    extra_permit: ExtraPermit breaks Permits;
    permit_lost: PermitLost breaks PermitsReturn;
    answered_twice: AnsweredTwice breaks QuestionEnds;
    question_never_ends: QuestionNeverEnds breaks QuestionEnds;
    default_forgotten: DefaultForgotten breaks QuestionEnds;
    last_answer_counts: LastAnswerCounts breaks WorstCounts;
    plan_question_never_ends: PlanQuestionNeverEnds breaks PlanQuestionEnds;
    void_plan_taken: VoidPlanTaken breaks PlanQuestionEnds;
    profile_change_ignored: ProfileChangeIgnored breaks PlanAsked;
    asked_at_each_sample: AskedAtEachSample breaks PlanAsked;
    plans_not_asked_anew: PlansNotAskedAnew breaks PlanAsked;
    plan_questions_unbounded: PlanQuestionsUnbounded breaks PlanQuestionsBounded;
    breaker_plan_unchecked: BreakerPlanUnchecked breaks BreakerPlanInForce;
    observed_blind: ObservedBlind breaks WouldBe;
    observed_plan_enforced: ObservedPlanEnforced breaks BreakerPlanInForce;
    plan_lost_unanswered: PlanLostUnanswered breaks BreakerPlanInForce;
    plan_resets_breaker: PlanResetsBreaker breaks BreakerRule;
    classes_forgotten: ClassesForgotten breaks CellAgrees;
    change_unasked: ChangeUnasked breaks CapacityAsked;
    load_forgets_memory: LoadForgetsMemory breaks LoadTrue;
    plan_unchecked: PlanUnchecked breaks PlanInForce;
    plan_forgotten: PlanForgotten breaks PlanInForce;
    limit_ignored: LimitIgnored breaks LimitsKept;
    admission_forgotten: AdmissionForgotten breaks RefusedForLimit;
    last_comes_first: LastComesFirst breaks WaitsInOrder;
    refusal_stays: RefusalStays breaks RefusedTriedAgain;
    trial_skipped: TrialSkipped breaks TrialDecides;
    nothing_held: NothingHeld breaks TrialDecides;
    trial_never_ends: TrialNeverEnds breaks TrialEnds;
    rounds_unwatched: RoundsUnwatched breaks RoundsHeld;
    held_answers_count: HeldAnswersCount breaks HeldHarmless;
    held_unsaid: HeldUnsaid breaks HeldSaid;
    recycle_unbounded: RecycleUnbounded breaks RecycleBound;
    all_recycled: AllRecycled breaks RecycleBound;
    memory_ignored: MemoryIgnored breaks LimitsHold;
    processes_ignored: ProcessesIgnored breaks LimitsHold;
    memory_not_recycled: MemoryNotRecycled breaks MemoryRecycles;
    drain_skipped: DrainSkipped breaks StopInOrder;
    grace_skipped: GraceSkipped breaks StopInOrder;
    idle_forgotten: IdleForgotten breaks IdleInTime;
    shrink_is_fine: ShrinkIsFine breaks ToolsCompared;
    baseline_not_kept: BaselineNotKept breaks BaselineKept;
    clear_keeps_backoff: ClearKeepsBackoff breaks StateCleared;
    clear_keeps_evidence: ClearKeepsEvidence breaks StateCleared;
    clear_keeps_missing: ClearKeepsMissing breaks StateCleared;
    clear_keeps_open: ClearKeepsOpen breaks StateCleared;
    reload_restarts: ReloadRestarts breaks ReloadExact;
    reload_ignored: ReloadIgnored breaks ReloadExact;
    route_outlives_run: RouteOutlivesRun breaks RouteTruth;
    summary_gap: SummaryGap breaks SummaryPartitions;
    down_at_once: DownAtOnce breaks ReadinessRule;
    database_ignored: DatabaseIgnored breaks ReadinessRule;
    tool_trips_all: ToolTripsAll breaks ToolsApart;
    tool_blames_instance: ToolBlamesInstance breaks BreakerRule;
    shared_cause_stays: SharedCauseStays breaks OneCause;
    shared_cause_unsaid: SharedCauseUnsaid breaks OneCause;
    policy_fault_ignored: PolicyFaultIgnored breaks ReadinessRule;
    journal_ignored: JournalIgnored breaks ReadinessRule;
    wake_missed: WakeMissed breaks WakeHonest;
    wake_in_the_past: WakeInThePast breaks WakeHonest;
    shutdown_forgets_starting: ShutdownForgetsStarting breaks StoppedAtEnd;
    ends_unasked: EndsUnasked breaks EndsWhenAsked;
    order_forgotten_at_end: OrderForgottenAtEnd breaks OrdersAnsweredAtEnd;
    keep_ignored: KeepIgnored breaks Kept;
    settings_unnoticed: SettingsUnnoticed breaks StepWhole;
}

/// What must come up often enough in a whole run for the properties to mean something.
pub(super) const SITUATIONS: [&str; 63] = [
    "adopted",
    "adopted with tools missing",
    "answered by a start",
    "asked again",
    "backoff",
    "breaker closed by probes",
    "breaker opened",
    "breaker plan asked for again",
    "breaker plan observed",
    "breaker plan refused",
    "breaker plan taken",
    "breaker plan unanswered",
    "breaker plan waited",
    "breaker plan would have opened",
    "breakers opened together",
    "breakers opened together while degraded",
    "capacity planned",
    "crash loop",
    "default answered",
    "demand waited",
    "early tick",
    "end lost",
    "generation applied",
    "generation confirmed",
    "generation rejected",
    "half open",
    "held in force",
    "held in its trial",
    "idle stop",
    "kill lost",
    "late answer",
    "manual restart",
    "memory kill",
    "memory recycled",
    "opened again before it was forgotten",
    "plan kept",
    "plan refused",
    "process kill",
    "probe",
    "readiness down",
    "recycled",
    "recycled as many as may be",
    "rejected",
    "released",
    "reload without a change",
    "settings changed",
    "several policies answered",
    "shim lost",
    "SIGTERM ignored",
    "slow retry",
    "spawn lost",
    "state cleared",
    "start admitted",
    "start refused",
    "start waited",
    "stray",
    "stuck",
    "tool breaker closed by probes",
    "tool breaker opened",
    "tool rejected",
    "tools missing",
    "unclaimed",
    "unkillable",
];
