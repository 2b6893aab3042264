#' @description
#' Guided diffusion on Gaussian mixtures, whose scores, class probabilities and densities are exact.
#' With `fit <- as_gaussmix(Species ~ ., iris)`, or a [gaussmix()] or a fit by mclust:
#'
#' 1. What does guidance do to my classes? `guidance_sweep(fit)`
#' 2. Which sampler for 20 evaluations? `plan_sampler(fit, evaluations = 20)`
#' 3. Where does it break? `strength_limit(fit, guidance = "virginica")`
#' 4. What is sampled? `guided_sample(fit, guidance = guidance("virginica", 2))`, and not
#'    `tilted_sample(fit, guidance = guidance("virginica", 2))`
#' 5. How do I impute? `impute(fit, data)`, with `NA` in `data`
#'
#' `guidance_report(fit, file = "report.html")` answers all five; `explorer(fit)` shows them by
#' sliders; `vignette("mixguide")` tells them in order.
#' @section Functions: In eight families:
#' * **Mixtures**: [gaussmix()], [as_gaussmix()], [named_mixture()]; [dgaussmix()], [pgaussmix()],
#'   [qgaussmix()], [rgaussmix()]; [moments()], [covariances()], [confidence()], [entropy()]
#' * **The forward process**: [schedule()], `schedule_*`: [ou][schedule_ou], [vp][schedule_vp],
#'   [cosine][schedule_cosine], [ve][schedule_ve], [subvp][schedule_subvp], [flow][schedule_flow],
#'   [ddpm][schedule_ddpm], [etc][schedule_etc]; [time_grid()], [standardise()]; [diffuse()],
#'   [score()], [score_jacobian()], [denoise()], [posterior()], [information()], [lipschitz()]
#' * **Samplers**: `sampler_*`: [ddim][sampler_ddim], [ddpm][sampler_ddpm], [euler][sampler_euler],
#'   [em][sampler_em], [exponential][sampler_exponential], [heun][sampler_heun], [rk4][sampler_rk4],
#'   [dpm_2][sampler_dpm_2], [dpmpp_2m][sampler_dpmpp_2m], [dpmpp_3m][sampler_dpmpp_3m],
#'   [dpom][sampler_dpom], [dpum][sampler_dpum], [corrected][sampler_corrected] by a [corrector()],
#'   [corrector_langevin()] or [corrector_underdamped()], [pcg][sampler_pcg],
#'   [zigzag][sampler_zigzag]; your own by [sampler()] of `op_*`: [eval][op_eval],
#'   [noise][op_noise], [linear][op_linear], [product][op_product], [solve][op_solve],
#'   [root][op_root]; [evaluations()] counts what one costs
#' * **Runs**: [diffusion()] is what is run; [guidance()], [guidance_rule()], [strength_profile()],
#'   [strength_bands()], [recfg_weights()], [capped_strength()], [score_error()], [score_model()];
#'   [guided_sample()], [guidance_sweep()], [compare_guidance()], [guided_summary()],
#'   [coupled_paths()], [tilted_sample()]; [mixguide_threads()]; [explorer()]
#' * **Laws**, without sampling error: [guided_law()], [guided_limit()], [fokker_planck()],
#'   [guided_moments()], [tilted_law()]; [law_density()], [law_distance()], [sliced_wasserstein()]
#' * **What guidance does**: [guidance_report()], [guidance_condition()], [step_condition()],
#'   [gain_bound()], [strength_limit()], [best_strength()], [split_threshold()],
#'   [guidance_identities()]
#' * **Errors and guarantees**: [guided_error()], [path_kl()], [error_budget()],
#'   [convergence_order()], [plan_sampler()], [best_grid()]
#' * **Observations**: [observation()]; exact: [condition()], [marginal()], [impute()],
#'   [mice.impute.gaussmix()], [mutual_information()]; by unconditional scores:
#'   [conditional_sample()] with `zero_shot_*`:
#'   [exact][zero_shot_exact], [ddnm][zero_shot_ddnm], [ddnm_plus][zero_shot_ddnm_plus],
#'   [bo][zero_shot_bo], [ccdf][zero_shot_ccdf], [repaint][zero_shot_repaint],
#'   [ddrm][zero_shot_ddrm], [diffpir][zero_shot_diffpir], [dps][zero_shot_dps],
#'   [mcg][zero_shot_mcg], [pigdm][zero_shot_pigdm], [tmpd][zero_shot_tmpd], [tds][zero_shot_tds],
#'   [mcgdiff][zero_shot_mcgdiff], [smcdiffopt][zero_shot_smcdiffopt]; [mismatch()],
#'   [judge_samples()]
#'
#' Results have `print()`, `plot()`, [autoplot()], `summary()`, [tidy()] and [glance()]; most are
#' data frames ([mixguide_table]).
#' @section Errors:
#' Errors have the class `mixguide_error`. The message names the argument, the wanted value and the
#' given value. A second class tells the kind: `mixguide_error_singular` if a covariance is singular
#' and there is no noise, so that density and score do not exist; `mixguide_error_impossible` for
#' data that no component can have made; `mixguide_error_input` for most others. Help pages mention
#' the errors of their own functions.
#' @keywords internal
#' @useDynLib mixguide, .registration = TRUE
#' @import ggplot2
#' @importFrom generics augment glance tidy
"_PACKAGE"

#' @export
ggplot2::autoplot

#' @export
generics::tidy

#' @export
generics::glance

#' @export
generics::augment

.onUnload <- function(libpath) library.dynam.unload("mixguide", libpath)
